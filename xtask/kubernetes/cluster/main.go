// A one-node Kubernetes for tests: `cluster PARTS RUN`.
//
// PARTS is a folder with the programs (see xtask/src/setup/kubernetes.rs), RUN a folder that must not exist and is removed
// at the end. The whole cluster is one tree of processes in namespaces and control groups of its own. Nothing is installed
// on the machine, no image is pulled, and nothing is left when the tree has ended.
//
// On standard output it says `ready` and a line of JSON once a Pod can be made. On standard input it takes `stop PART`,
// `start PART` and `restart node` and answers when that is done. It ends when its standard input does, so it cannot outlive who started it.
//
// This process is outside of the namespaces. It makes what lies on both sides: keys, settings, control groups, the pair of
// links. The same program is the first process inside: see inside.go.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// How long a start may take on a machine that does other work as well.
const startDeadline = 180 * time.Second

// The second byte of a cluster's 10.N.0.0/16. The pair of links is named after it, and so taken.
const firstNet, lastNet = 87, 250

// What inside.go has to know.
type plan struct {
	Parts string // folder of the programs
	Run   string // folder of this cluster
	Net   string // "10.N"
	Admin string // the administrator's token
}

func (p plan) node() string { return p.Net + ".0.2" }

func fail(err error, what string) {
	if err != nil {
		panic(fmt.Errorf("%s: %w", what, err))
	}
}

func main() {
	// The death signal of the process inside is bound to the thread that starts it.
	runtime.LockOSThread()
	if len(os.Args) == 2 && os.Args[1] == "inside" {
		inside()
		return
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: cluster PARTS RUN")
		os.Exit(2)
	}
	if err := outside(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func outside(parts, run string) (err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("%v", caught)
		}
	}()
	for _, covered := range []string{"/var/", "/run/"} {
		if strings.HasPrefix(run, covered) || strings.HasPrefix(parts, covered) {
			return fmt.Errorf("neither %s nor %s may lie below %s, which the cluster covers", parts, run, covered)
		}
	}
	fail(os.Mkdir(run, 0o700), "making the cluster's folder")
	defer os.RemoveAll(run)
	for _, name := range []string{"log", "state", "pki", "cni"} {
		fail(os.Mkdir(filepath.Join(run, name), 0o700), "making folders")
	}
	number, link := takeLink()
	defer exec.Command("ip", "link", "delete", link).Run()
	p := plan{Parts: parts, Run: run, Net: fmt.Sprintf("10.%d", number)}
	p.Admin = writeKeys(p)
	writeSettings(p)

	groups := makeGroups()
	defer removeGroups(groups)
	command := exec.Command("/proc/self/exe", "inside")
	told, _ := json.Marshal(p)
	command.Env = append(os.Environ(), "CLUSTER_PLAN="+string(told))
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP,
		Setsid:    true,
		Pdeathsig: syscall.SIGKILL,
	}
	// A namespace of control groups begins at the groups of who makes it.
	enterGroups(groups, false)
	started := command.Start()
	enterGroups(groups, true)
	fail(started, "starting the first process of the cluster (this needs root)")
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	defer func() {
		command.Process.Kill()
		<-ended
		ended <- nil
	}()

	ip("link", "set", link+"p", "netns", fmt.Sprint(command.Process.Pid), "name", "eth0")
	ip("address", "add", p.Net+".0.1/30", "dev", link)
	ip("link", "set", link, "up")

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	ready := make(chan error, 1)
	go func() { ready <- awaitReady(p) }()
	for {
		select {
		case <-ended:
			ended <- nil
			return nil
		case <-signals:
			return nil
		case why := <-ready:
			if why != nil {
				return fmt.Errorf("%w\n%s", why, logs(p))
			}
			said, _ := json.Marshal(map[string]string{
				"address": "https://" + p.node() + ":6443", "token": p.Admin, "run": run,
			})
			fmt.Printf("ready %s\n", said)
		}
	}
}

// Takes a number by making the pair of links that is named after it.
func takeLink() (int, string) {
	var said []byte
	for number := firstNet; number <= lastNet; number++ {
		link := fmt.Sprintf("kube%d", number)
		var err error
		if said, err = exec.Command("ip", "link", "add", link, "type", "veth", "peer", "name", link+"p").CombinedOutput(); err == nil {
			return number, link
		}
	}
	panic(fmt.Errorf("making a pair of links: %s", said))
}

func ip(arguments ...string) {
	said, err := exec.Command("ip", arguments...).CombinedOutput()
	fail(err, "ip "+strings.Join(arguments, " ")+": "+string(said))
}

// The end of each log, for who has to find out why there is no cluster.
func logs(p plan) string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(p.Run, "log", "*"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if len(text) > 2000 {
			text = text[len(text)-2000:]
		}
		fmt.Fprintf(&all, "--- %s\n%s\n", filepath.Base(file), text)
	}
	return all.String()
}
