//go:build linux

package browser

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startCluster runs `make cluster` until the end of the test, and returns its output.
func startCluster(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("make", "--no-print-directory", "cluster")
	cmd.Dir = "../.."
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		_ = cmd.Wait()
	})
	var text strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Logs and data") {
			return text.String()
		}
	}
	t.Fatalf("the cluster does not start:\n%s", &text)
	return ""
}

// TestConsole_Failover kills the leader of a cluster, with its agent, while the Overview is
// open under load. The page must show the three servers, then another primary on a higher
// timeline, and the events, without being loaded again. It takes a minute, so it belongs to
// the long form of the fault tests.
func TestConsole_Failover(t *testing.T) {
	if os.Getenv("QUERN_FAULTS") != "long" {
		return
	}
	browser(t)
	said := startCluster(t)
	ctx := openBrowser(t) // its time begins now
	setting := func(name string) string {
		return name + "=" + regexp.MustCompile(name + `='(.+?)'`).FindStringSubmatch(said)[1]
	}
	url, _ := serveWith(t, setting("DATABASE_URL"), setting("REPLICA_DISCOVERY"), "POOL_MAX_CONNS=4")
	stop := load(t, url)
	defer stop()
	screen{1280, "light"}.set(ctx, t)
	overview := consolePages[0]
	openPage(ctx, t, url, overview.name, overview.path, overview.shows)
	const rows = `[...document.querySelectorAll("table")].find(t => t.caption?.textContent.startsWith("Servers"))?.innerText`
	becomes(ctx, t, "the page shows the members", fmt.Sprintf(`(%s.match(/replica, used/g) || []).length === 2 && /primary now/.test(%[1]s)`, rows))
	screenshot(ctx, t, "failover-before")

	leader := regexp.MustCompile(`(?m)^(\S+) +leader +(\S+) .* (\d+)$`).FindStringSubmatch(said)
	dir := regexp.MustCompile(`Logs and data are in (\S+)\.`).FindStringSubmatch(said)
	agent, err := exec.Command("pgrep", "-f", dir[1]+"/"+leader[1]+"/patroni.yml").Output()
	if err != nil {
		t.Fatalf("find the agent of %s: %v", leader[1], err)
	}
	for _, pid := range append(strings.Fields(string(agent)), leader[3]) {
		n, _ := strconv.Atoi(pid)
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	killed := time.Now()
	becomes(ctx, t, "the page says that the database is down", `/not used|down/.test(`+rows+`)`)
	screenshot(ctx, t, "failover-during")
	becomes(ctx, t, "the page shows the failover", `/failover: the primary is on timeline 2/.test(document.querySelector(".events").innerText)`)
	becomes(ctx, t, "one replica is used", fmt.Sprintf(`(%s.match(/replica, used/g) || []).length === 1 && /primary now/.test(%[1]s)`, rows))
	t.Logf("the page shows it after %v", time.Since(killed).Round(100*time.Millisecond))
	screenshot(ctx, t, "failover-after")
	becomes(ctx, t, "the member that has gone is forgotten", `/no longer listed: `+regexp.QuoteMeta(leader[2])+`/.test(document.querySelector(".events").innerText)`)
	screenshot(ctx, t, "failover-forgotten")
	for _, finding := range axe(ctx, t) {
		t.Error(finding)
	}
}
