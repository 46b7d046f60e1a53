package report

import (
	"bytes"
	"fmt"

	"quern/bench/internal/taskload"
)

const tasksIntro = `Tasks that do nothing, beside jobs of River that do nothing. One round creates them, 1,000 in a statement, then all workers
work them. Each must be worked once. With Quern a worker claims 10 tasks, or 1, and completes one after the other: each completion is
stored when the call returns, and leases and attempts are kept. With River a worker is free before the completion is stored. So in
another row a worker of Quern goes on and claims more while up to ten of its tasks are stored. The time ends with the last stored
completion. The ratios are to River.

`

// tasks writes the measurements of tasks.
func (r *Report) tasks(b *bytes.Buffer) {
	if len(r.Tasks) == 0 {
		return
	}
	fmt.Fprintf(b, "## Tasks beside River\n\n%s", tasksIntro)
	t := newTable("", "workers", "", "tasks/s", "ratio", "CPU client", "CPU server", "allocations", "memory")
	for _, c := range r.Tasks {
		for _, who := range c.Order {
			sum := c.Summarize(who, taskload.Reference)
			t.add(c.Workload, fmt.Sprint(c.Callers), mark(who), rate(sum.Throughput), ratio(sum.Ratio),
				took(sum.ClientCPU), took(sum.ServerCPU), number(sum.Mallocs), size(sum.Bytes))
		}
	}
	t.write(b)
}

// taskLimits are the targets for tasks, by the number of workers.
var taskLimits = map[int]float64{100: 2.5, 1000: 2.2}

// taskTargets adds the targets for tasks.
func (r *Report) taskTargets(t *table) {
	for _, c := range r.Tasks {
		least, ok := taskLimits[c.Callers]
		if !ok || c.Workload != taskload.Worked || len(c.Samples[project]) == 0 {
			continue
		}
		got := c.Summarize(project, taskload.Reference).Ratio
		t.add(fmt.Sprintf("tasks worked, %s workers, against River", Thousands(int64(c.Callers))), limit(false, least), ratio(got), verdict(false, got, least))
	}
}
