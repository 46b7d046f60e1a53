// Package faults holds tests and nothing else: what Quern promises when things
// break and when everybody comes at once, tried on real servers. Primaries and
// standbys are killed, stopped, restarted and promoted under load, and a proxy
// that understands the protocol loses exactly the answer to a COMMIT; crowds
// read and insert what may share statements; afterwards what callers were told
// is compared with what is stored.
//
// `go test` runs a short form; QUERN_FAULTS=long, which `make faults` sets,
// runs each test long enough for rare interleavings to show. Every promise has
// a control beside it that does the same the naive way and has to fail.
//
//	harness   main_test.go      one template cluster for the process
//	          cluster_test.go   a primary and its standbys, killed and stopped at will
//	          process_test.go   PostgreSQL's programs, ended with the test
//	          proxy_test.go     what stands between pgx and a server
//	          ledger_test.go    what callers were told against what is stored
//	          leak_test.go      goroutines, descriptors and connections afterwards
//	          harness_test.go   whether the harness sees what it should
//	          naive_test.go     the controls
//	          crowd_test.go     many callers at once, and what a check has against their answers
//	          register_test.go, population_test.go, population_write_test.go
//	                            rows that can only be read right or wrong
//	          order_test.go, receipt_test.go
//	                            inserts, and what each of them has to come to
//	          patroni_test.go, patroni_client_test.go
//	                            a cluster of Patroni and etcd, and the server's binary under writers
//	          meddled_test.go   the wrong ways of sharing: more controls
//	promises  commit_test.go    a COMMIT without an answer
//	          foreign_test.go   answers lost between two servers
//	          refused_test.go   what is refused is not applied
//	          standby_test.go   a synchronous standby that is gone
//	          kill_test.go      kill -9 of backends and postmasters
//	          replica_test.go   read your own writes; dead and stopped replicas
//	          history_test.go, history_use_test.go
//	                            replicas that have another history than the primary
//	          failover_test.go  promotion of a synchronous standby
//	          split_test.go     a promotion while the old primary lives on
//	          patroni_events_test.go
//	                            what happens to such a cluster, and to the server on it
//	          deadline_test.go  restarts, and calls to what no longer answers
//	          import_memory_test.go, body_memory_test.go, stream_memory_test.go
//	                            the memory of a server process
//	          bulkhead_test.go  work in bulk by more clients than there are connections
//	crowds    crowd_read_test.go, crowd_insert_test.go
//	                            each caller's own answer, and none from the past
//	          crowd_cancel_test.go, crowd_panic_test.go, crowd_held_test.go
//	                            callers who leave, who panic and who are held up
//	          crowd_restart_test.go, crowd_close_test.go
//	                            what goes away under them: server, answers, Router
//
// The tests need Linux: its /proc, its signals to the children of the dead.
package faults
