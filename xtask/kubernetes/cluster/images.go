// The two images of a cluster, made by hand from busybox, mksh and bash: no registry, no engine.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

type entry struct {
	name, link string
	mode       int64
	body       []byte
	owner      int
}

// Reaps what is orphaned to it, as the first process of a Pod's shared namespaces must, and ends on TERM.
const pause = "#!/bin/sh\ntrap 'exit 0' TERM INT\nwhile :; do sleep 2147483647 & wait $!; done\n"

// As GNU's `seq -f FORMAT FIRST LAST`, which busybox lacks and tests of long output use.
const seq = `#!/bin/sh
[ "$1" = -f ] || exec busybox seq "$@"
exec busybox awk -v form="$2\n" -v n="$3" -v last="$4" 'BEGIN { for (; n + 0 <= last + 0; n++) printf form, n }'
`

const users = "root:x:0:0:root:/root:/bin/sh\nsandbox:x:1000:1000:sandbox:/home/sandbox:/bin/bash\n"

func archive(entries []entry) []byte {
	var out bytes.Buffer
	into := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.body)), Uid: e.owner, Gid: e.owner, Typeflag: tar.TypeReg}
		switch {
		case e.link != "":
			header.Typeflag, header.Linkname = tar.TypeLink, e.link
		case strings.HasSuffix(e.name, "/"):
			header.Typeflag = tar.TypeDir
		}
		fail(into.WriteHeader(header), "writing an image")
		_, err := into.Write(e.body)
		fail(err, "writing an image")
	}
	fail(into.Close(), "writing an image")
	return out.Bytes()
}

// Writes images/NAME.tar for each image, in the form of `docker save`.
func writeImages(p plan) []string {
	busybox, err := os.ReadFile(filepath.Join(p.Parts, "busybox"))
	fail(err, "reading busybox")
	bash, err := os.ReadFile(filepath.Join(p.Parts, "bash"))
	fail(err, "reading bash")
	// Busybox's own shell takes its own `seq` before any other, and bash complains of locales that there are not.
	shell, err := os.ReadFile(filepath.Join(p.Parts, "mksh"))
	fail(err, "reading mksh")
	applets, err := exec.Command(filepath.Join(p.Parts, "busybox"), "--list").Output()
	fail(err, "asking busybox for its applets")
	entries := []entry{}
	for _, name := range []string{"bin/", "etc/", "proc/", "sys/", "dev/", "root/", "home/"} {
		entries = append(entries, entry{name: name, mode: 0o755})
	}
	entries = append(entries,
		entry{name: "tmp/", mode: 0o1777},
		entry{name: "home/sandbox/", mode: 0o755, owner: 1000},
		entry{name: "etc/passwd", mode: 0o644, body: []byte(users)},
		entry{name: "etc/group", mode: 0o644, body: []byte("root:x:0:\nsandbox:x:1000:\n")},
		entry{name: "bin/pause", mode: 0o755, body: []byte(pause)},
		entry{name: "bin/seq", mode: 0o755, body: []byte(seq)},
		entry{name: "bin/bash", mode: 0o755, body: bash},
		entry{name: "bin/sh", mode: 0o755, body: shell},
		entry{name: "bin/busybox", mode: 0o755, body: busybox})
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" && name != "bash" && name != "sh" && name != "seq" {
			entries = append(entries, entry{name: "bin/" + name, mode: 0o755, link: "bin/busybox"})
		}
	}
	layer := archive(entries)
	sum := sha256.Sum256(layer)
	var files []string
	for name, command := range map[string][]string{"pause": {"/bin/pause"}, "shell": {"/bin/sh"}} {
		config := asJSON(map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Env": []string{"PATH=/bin"}, "WorkingDir": "/", "Cmd": command},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
		})
		manifest := asJSON([]any{map[string]any{
			"Config": "config.json", "RepoTags": []string{"local.invalid/" + name + ":1"}, "Layers": []string{"layer.tar"},
		}})
		file := p.file("state", name+".tar")
		fail(os.WriteFile(file, archive([]entry{
			{name: "manifest.json", mode: 0o644, body: []byte(manifest)},
			{name: "config.json", mode: 0o644, body: []byte(config)},
			{name: "layer.tar", mode: 0o644, body: layer},
		}), 0o600), "writing an image")
		files = append(files, file)
	}
	return files
}
