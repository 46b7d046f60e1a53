// Package faults contains only tests. They check Quern's promises during failures
// and under many concurrent callers, on real servers. Primaries and standbys are
// killed, stopped, restarted and promoted under load, and a proxy that understands
// the protocol loses exactly the answer to a COMMIT. Crowds of callers read and
// insert rows with statements that are coalesced. Afterwards the results of the
// callers are compared with the stored rows.
//
// `go test` runs a short form. QUERN_FAULTS=long, which `make faults` sets, runs
// each test long enough for rare interleavings to occur. Every promise has a
// control that does the same in a naive way and must fail.
//
//	harness   main_test.go      one template cluster for the process
//	          cluster_test.go   a primary and its standbys, which tests kill and stop
//	          process_test.go   PostgreSQL's programs, ended with the test
//	          proxy_test.go     a proxy between pgx and a server
//	          ledger_test.go    compares the results of writers with the stored rows
//	          network_test.go   hosts in network namespaces, whose packets can be lost
//	          leak_test.go      goroutines, descriptors and connections afterwards
//	          harness_test.go   tests of the harness itself
//	          naive_test.go     the controls
//	          crowd_test.go     many callers at once, and findings of a check
//	          register_test.go, population_test.go, population_write_test.go
//	                            rows whose reads can be checked
//	          order_test.go, receipt_test.go
//	                            inserts, and the result that each must have
//	          patroni_test.go, patroni_client_test.go
//	                            a cluster of Patroni and etcd, and the server's binary under writers
//	          meddled_test.go   more controls: wrong ways to share statements
//	promises  commit_test.go    a COMMIT without an answer
//	          foreign_test.go   answers lost between two servers
//	          refused_test.go   a refused write is not applied
//	          standby_test.go   a synchronous standby that is down
//	          kill_test.go      kill -9 of servers, backends, postmasters and primaries
//	          cut_test.go, cut_patroni_test.go
//	                            network cuts, in one direction and in both
//	          replica_test.go   read your own writes; dead and stopped replicas
//	          history_test.go, history_use_test.go
//	                            replicas that have another history than the primary
//	          scale_test.go     reads with one to three replicas
//	          discovery_test.go replicas that come and go, and discovery that fails
//	          failover_test.go  promotion of a synchronous standby
//	          split_test.go     a promotion while the old primary is still running
//	          patroni_events_test.go
//	                            failures of a Patroni cluster and its server
//	          deadline_test.go  restarts, and servers that do not answer
//	          import_memory_test.go, body_memory_test.go, stream_memory_test.go
//	                            the memory of a server process
//	          bulkhead_test.go  bulk work by more clients than there are connections
//	crowds    crowd_read_test.go, crowd_insert_test.go
//	                            each caller gets its own result, and none from the past
//	          crowd_cancel_test.go, crowd_panic_test.go, crowd_held_test.go
//	                            cancelled calls, panics and blocked calls
//	          crowd_restart_test.go, crowd_close_test.go
//	                            loss of the server, of answers and of the Router
//
// The tests need Linux, because they use /proc and parent-death signals.
package faults
