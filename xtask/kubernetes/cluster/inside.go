// The first process in the namespaces: mounts, then every part of the node, each with its log, and what is asked on
// standard input. All ends when this process does.
//
// What the parts write by default lies below /var and /run, which are in memory and of this namespace alone.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Settings of the whole machine that the kubelet writes. It gets files in their place.
var machineSettings = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
	"kernel/keys/root_maxbytes",
}

// Those that Pods, namespaces, quotas and nodes need. All of them take 4 s longer to start.
const controllers = "serviceaccount-controller,root-ca-certificate-publisher-controller,namespace-controller," +
	"garbage-collector-controller,pod-garbage-collector-controller,node-lifecycle-controller,taint-eviction-controller," +
	"clusterrole-aggregation-controller,resourcequota-controller"

func mount(source, target, kind string, flags uintptr, data string) {
	fail(syscall.Mount(source, target, kind, flags, data), "mounting "+target)
}

func mountAll(p plan) {
	state := p.file("state")
	mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	mount("proc", "/proc", "proc", 0, "")
	mount("tmpfs", state, "tmpfs", 0, "mode=0755")
	for _, name := range []string{"var/lib", "var/log", "var/tmp", "var/cache", "settings", "etcd"} {
		fail(os.MkdirAll(filepath.Join(state, name), 0o755), "making folders")
	}
	fail(os.Symlink("/run", filepath.Join(state, "var/run")), "linking /var/run")
	mount(filepath.Join(state, "var"), "/var", "", syscall.MS_BIND, "")
	mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
	mount("sysfs", "/sys", "sysfs", 0, "")
	mount("tmpfs", hierarchies, "tmpfs", 0, "mode=0755")
	for _, line := range ownGroups() {
		target := filepath.Join(hierarchies, folder(line[0]))
		fail(os.Mkdir(target, 0o755), "making folders")
		kind, data := "cgroup", line[0]
		if line[0] == "" {
			kind, data = "cgroup2", ""
		} else if strings.HasPrefix(line[0], "name=") {
			data = "none," + line[0]
		}
		if syscall.Mount(kind, target, kind, 0, data) != nil {
			os.Remove(target)
		}
	}
	for _, name := range machineSettings {
		real := filepath.Join("/proc/sys", name)
		value, err := os.ReadFile(real)
		if err != nil {
			continue
		}
		file := filepath.Join(state, "settings", strings.ReplaceAll(name, "/", "."))
		fail(os.WriteFile(file, value, 0o644), "writing "+file)
		mount(file, real, "", syscall.MS_BIND, "")
	}
	mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, "")
}

// The processes of this namespace. One loop reaps all of them, also the orphans.
type processes struct {
	plan  plan
	lock  sync.Mutex
	known map[string]running
}

type running struct {
	pid   int
	ended chan struct{}
}

func (all *processes) reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if err == syscall.ECHILD {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		all.lock.Lock()
		for name, one := range all.known {
			if one.pid == pid {
				close(one.ended)
				delete(all.known, name)
			}
		}
		all.lock.Unlock()
	}
}

// Starts a program as NAME, with its log.
func (all *processes) start(name, program string, arguments ...string) running {
	log, err := os.OpenFile(all.plan.file("log", name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	fail(err, "opening a log")
	defer log.Close()
	nothing, err := os.Open(os.DevNull)
	fail(err, "opening "+os.DevNull)
	defer nothing.Close()
	all.lock.Lock()
	defer all.lock.Unlock()
	pid, err := syscall.ForkExec(program, append([]string{program}, arguments...), &syscall.ProcAttr{
		Env:   []string{"PATH=" + all.plan.Parts + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/var/tmp"},
		Files: []uintptr{nothing.Fd(), log.Fd(), log.Fd()},
	})
	fail(err, "starting "+name)
	one := running{pid, make(chan struct{})}
	all.known[name] = one
	return one
}

func (all *processes) stop(name string) {
	all.lock.Lock()
	one, known := all.known[name]
	all.lock.Unlock()
	if known {
		syscall.Kill(one.pid, syscall.SIGKILL)
		<-one.ended
	}
}

// How each part of Kubernetes is started.
func (p plan) flags() map[string][]string {
	pki := func(name string) string { return p.file("pki", name) }
	return map[string][]string{
		"etcd": {"--data-dir", p.file("state", "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
			"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
			"--listen-peer-urls", "http://127.0.0.1:2380"},
		"apiserver": {"--etcd-servers", "http://127.0.0.1:2379", "--bind-address", p.node(), "--advertise-address", p.node(),
			"--secure-port", "6443", "--service-cluster-ip-range", p.Net + ".2.0/24", "--allow-privileged",
			"--tls-cert-file", pki("apiserver.crt"), "--tls-private-key-file", pki("apiserver.key"),
			"--client-ca-file", p.file("ca.crt"),
			"--token-auth-file", pki("tokens.csv"), "--authorization-mode", "Node,RBAC",
			"--service-account-issuer", "https://kubernetes.default.svc",
			"--service-account-key-file", pki("accounts.pub"), "--service-account-signing-key-file", pki("accounts.key"),
			"--kubelet-certificate-authority", p.file("ca.crt"), "--kubelet-client-certificate", pki("to-kubelet.crt"),
			"--kubelet-client-key", pki("to-kubelet.key"), "--kubelet-preferred-address-types", "InternalIP"},
		// Under RBAC the controllers need the rights of their own accounts: the manager's own user may not even take the
		// not-ready taint off a node.
		"manager": {"--kubeconfig", p.file("manager.kubeconfig"), "--secure-port", "0", "--leader-elect=false",
			"--use-service-account-credentials", "--kube-api-qps", "500", "--kube-api-burst", "1000",
			"--controllers", controllers, "--service-account-private-key-file", pki("accounts.key"),
			"--root-ca-file", p.file("ca.crt"), "--node-monitor-period", "1s", "--node-monitor-grace-period", "20s"},
		"scheduler": {"--kubeconfig", p.file("scheduler.kubeconfig"), "--secure-port", "0", "--leader-elect=false"},
		"kubelet": {"--config", p.file("kubelet.yaml"), "--kubeconfig", p.file("kubelet.kubeconfig"),
			"--hostname-override", "node1", "--node-ip", p.node()},
	}
}

func (all *processes) startPart(name string) bool {
	if name == "containerd" {
		all.start(name, filepath.Join(all.plan.Parts, name), "--config", all.plan.file("containerd.toml"))
		return true
	}
	flags, known := all.plan.flags()[name]
	if known {
		all.start(name, filepath.Join(all.plan.Parts, "parts"), append([]string{name}, flags...)...)
	}
	return known
}

// What the loss of power does to a node: nothing of it runs any more, containers included, and then its own programs start
// again. The control plane is thought to be on another machine.
func (all *processes) restartNode() {
	spared := map[int]bool{os.Getpid(): true}
	all.lock.Lock()
	for _, name := range []string{"etcd", "apiserver", "manager", "scheduler"} {
		spared[all.known[name].pid] = true
	}
	all.lock.Unlock()
	all.stop("kubelet")
	all.stop("containerd")
	for left := true; left; time.Sleep(10 * time.Millisecond) {
		left = false
		entries, err := os.ReadDir("/proc")
		fail(err, "looking for processes")
		for _, entry := range entries {
			if pid, err := strconv.Atoi(entry.Name()); err == nil && !spared[pid] {
				left = syscall.Kill(pid, syscall.SIGKILL) == nil || left
			}
		}
	}
	all.startPart("containerd")
	// A kubelet that finds nobody there ends.
	listens("unix", "/run/containerd/containerd.sock")
	all.startPart("kubelet")
}

// Waits until something accepts connections there.
func listens(network, address string) {
	for {
		if connection, err := net.Dial(network, address); err == nil {
			connection.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func inside() {
	var p plan
	fail(json.Unmarshal([]byte(os.Getenv("CLUSTER_PLAN")), &p), "reading the plan")
	// With a stricter one the root folder of every container is closed to whoever is not root there.
	syscall.Umask(0o022)
	mountAll(p)
	fail(syscall.Sethostname([]byte("node1")), "naming the node")
	images := writeImages(p)
	all := &processes{plan: p, known: map[string]running{}}
	go all.reap()
	wait := func(program string, arguments ...string) {
		<-all.start(program, lookUp(p, program), arguments...).ended
	}
	wait("ip", "link", "set", "lo", "up")
	for {
		if _, err := os.Stat("/sys/class/net/eth0"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	wait("ip", "address", "add", p.node()+"/30", "dev", "eth0")
	wait("ip", "link", "set", "eth0", "up")

	go func() {
		all.startPart("etcd")
		all.startPart("containerd")
		// A first refusal costs the API server a second.
		listens("tcp", "127.0.0.1:2379")
		all.startPart("apiserver")
		listens("unix", "/run/containerd/containerd.sock")
		for _, image := range images {
			wait("ctr", "--namespace", "k8s.io", "images", "import", image)
		}
		// Before it has written its roles, the other parts have no rights, and give up.
		for ask := asker(p); ask("/readyz") == ""; {
			time.Sleep(50 * time.Millisecond)
		}
		listens("unix", "/run/containerd/containerd.sock")
		for _, part := range []string{"manager", "scheduler", "kubelet"} {
			all.startPart(part)
		}
	}()

	// The end of standard input is the end of the cluster.
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		verb, name, _ := strings.Cut(asked.Text(), " ")
		switch {
		case verb == "stop":
			all.stop(name)
			fmt.Println("stopped", name)
		case verb == "start" && all.startPart(name):
			fmt.Println("started", name)
		case verb == "restart" && name == "node":
			all.restartNode()
			fmt.Println("restarted", name)
		default:
			fmt.Println("unknown", asked.Text())
		}
	}
}

func lookUp(p plan, program string) string {
	for _, directory := range []string{p.Parts, "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if path := filepath.Join(directory, program); isFile(path) {
			return path
		}
	}
	panic(fmt.Errorf("%s is not installed", program))
}

func isFile(path string) bool {
	found, err := os.Stat(path)
	return err == nil && found.Mode().IsRegular()
}
