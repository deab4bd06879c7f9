// Control groups of version 1: one group below the caller's in every hierarchy, so that whatever holds the caller holds the
// whole cluster.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const hierarchies = "/sys/fs/cgroup"

// How long a group may still be in use after the last process was killed.
const removeDeadline = 20 * time.Second

// One hierarchy: the group of who started us, and the cluster's below it.
type group struct{ outer, own string }

// The lines of /proc/self/cgroup: controllers and path.
func ownGroups() [][2]string {
	text, err := os.ReadFile("/proc/self/cgroup")
	fail(err, "reading the control groups")
	var found [][2]string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if parts := strings.SplitN(line, ":", 3); len(parts) == 3 {
			found = append(found, [2]string{parts[1], parts[2]})
		}
	}
	return found
}

// The name of the folder in which a hierarchy is mounted.
func folder(controllers string) string {
	if controllers == "" {
		return "unified"
	}
	return strings.TrimPrefix(controllers, "name=")
}

func makeGroups() []group {
	var made []group
	for _, line := range ownGroups() {
		mounted := filepath.Join(hierarchies, folder(line[0]))
		if _, err := os.Stat(mounted); err != nil {
			continue
		}
		g := group{outer: filepath.Join(mounted, line[1])}
		sweep(g.outer)
		g.own = filepath.Join(g.outer, fmt.Sprintf("kube-%d", os.Getpid()))
		fail(os.MkdirAll(g.own, 0o755), "making a control group")
		made = append(made, g)
		// They are empty in a new group, which nothing may enter then.
		for _, setting := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(g.outer, setting)); err == nil && line[0] == "cpuset" {
				fail(os.WriteFile(filepath.Join(g.own, setting), value, 0o644), "setting "+setting)
			}
		}
	}
	return made
}

// Removes what a cluster left that was killed together with its starter.
func sweep(outer string) {
	left, _ := filepath.Glob(filepath.Join(outer, "kube-*"))
	for _, own := range left {
		if _, err := os.Stat("/proc/" + strings.TrimPrefix(filepath.Base(own), "kube-")); errors.Is(err, os.ErrNotExist) {
			removeTree(own)
		}
	}
}

func enterGroups(groups []group, back bool) {
	for _, g := range groups {
		into := g.own
		if back {
			into = g.outer
		}
		fail(os.WriteFile(filepath.Join(into, "cgroup.procs"), []byte(fmt.Sprint(os.Getpid())), 0o644), "entering "+into)
	}
}

// Processes go one after the other. A group can be removed once its last one has gone.
func removeGroups(groups []group) {
	for end := time.Now().Add(removeDeadline); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		left := false
		for _, g := range groups {
			left = !removeTree(g.own) || left
		}
		if !left {
			return
		}
	}
	fmt.Fprintln(os.Stderr, "cluster: a control group is still in use")
}

func removeTree(path string) bool {
	below, err := os.ReadDir(path)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	for _, entry := range below {
		if entry.IsDir() {
			removeTree(filepath.Join(path, entry.Name()))
		}
	}
	// The files of a group go with it.
	err = os.Remove(path)
	return err == nil || errors.Is(err, os.ErrNotExist)
}
