package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Apart keeps the processes of a server that was started here on one processor, and this process
// and its other children on another one, until together is called. It changes nothing if the
// server was there already, or if there is only one processor.
func (s *Server) Apart() (together func() error, err error) {
	if s.local == nil {
		return func() error { return nil }, nil
	}
	return apart(s.local.PID())
}

func apart(server int) (together func() error, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("read the processors of this process: %w", err)
	}
	if all.Count() < 2 {
		return func() error { return nil }, nil
	}
	first, second := pick(all)
	move := func(ours, theirs *unix.CPUSet) error {
		err := place(server, theirs)
		for _, pid := range slices.DeleteFunc(children(os.Getpid()), func(pid int) bool { return pid == server }) {
			err = errors.Join(err, place(pid, ours))
		}
		return errors.Join(err, placeThreads(os.Getpid(), ours))
	}
	together = func() error { return move(&all, &all) }
	if err := move(&first, &second); err != nil {
		return nil, errors.Join(err, together())
	}
	return together, nil
}

// pick returns two processors of a set, which must have at least two.
func pick(all unix.CPUSet) (first, second unix.CPUSet) {
	sets := []*unix.CPUSet{&first, &second}
	for cpu := 0; len(sets) > 0; cpu++ {
		if all.IsSet(cpu) {
			sets[0].Set(cpu)
			sets = sets[1:]
		}
	}
	return first, second
}

// place moves a process, and its children, to processors. Later children inherit them.
func place(pid int, set *unix.CPUSet) error {
	err := placeThreads(pid, set)
	for _, child := range children(pid) {
		err = errors.Join(err, place(child, set))
	}
	return err
}

// placeThreads moves all threads of a process. A new thread inherits the processors of the one
// that starts it, which may not have been moved yet. So it looks for threads until there are no
// new ones.
func placeThreads(pid int, set *unix.CPUSet) error {
	placed := map[int]bool{}
	for {
		before := len(placed)
		for _, tid := range ids(fmt.Sprintf("/proc/%d/task/*", pid)) {
			if placed[tid] {
				continue
			}
			placed[tid] = true
			if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("keep thread %d of process %d on a processor: %w", tid, pid, err)
			}
		}
		if len(placed) == before {
			return nil
		}
	}
}

// children returns the ids of the child processes that run.
func children(pid int) (list []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file) // the thread may have ended
		for _, field := range strings.Fields(string(text)) {
			if id, err := strconv.Atoi(field); err == nil {
				list = append(list, id)
			}
		}
	}
	return list
}

// ids returns the numbers that files are named after.
func ids(pattern string) (list []int) {
	files, _ := filepath.Glob(pattern)
	for _, file := range files {
		if id, err := strconv.Atoi(filepath.Base(file)); err == nil {
			list = append(list, id)
		}
	}
	return list
}
