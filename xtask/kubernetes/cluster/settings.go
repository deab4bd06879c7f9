// Keys, tokens and settings that the parts read. One authority signs the API server's certificate and the one that it shows
// to the kubelet; the parts and the administrator have tokens.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const life = 30 * 24 * time.Hour

type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func (p plan) file(parts ...string) string {
	return filepath.Join(append([]string{p.Run}, parts...)...)
}

func write(path, text string) { fail(os.WriteFile(path, []byte(text), 0o600), "writing "+path) }

func writePem(path, label string, der []byte) {
	write(path, string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})))
}

func newKey(path string) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err, "making a key")
	der, err := x509.MarshalECPrivateKey(key)
	fail(err, "writing a key")
	writePem(path, "EC PRIVATE KEY", der)
	return key
}

func serial() *big.Int {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	fail(err, "drawing a number")
	return number
}

func newAuthority(p plan) authority {
	key := newKey(p.file("pki", "ca.key"))
	form := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "cluster"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(life), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	fail(err, "signing the authority")
	writePem(p.file("ca.crt"), "CERTIFICATE", der)
	certificate, err := x509.ParseCertificate(der)
	fail(err, "reading the authority")
	return authority{key, certificate}
}

// A leaf with its key, as pki/NAME.crt and pki/NAME.key.
func (a authority) sign(p plan, name string, subject pkix.Name, usage x509.ExtKeyUsage, addresses ...string) {
	key := newKey(p.file("pki", name+".key"))
	form := &x509.Certificate{
		SerialNumber: serial(), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true,
	}
	for _, address := range addresses {
		form.IPAddresses = append(form.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificate(rand.Reader, form, a.certificate, &key.PublicKey, a.key)
	fail(err, "signing "+name)
	writePem(p.file("pki", name+".crt"), "CERTIFICATE", der)
}

func newToken() string {
	bytes := make([]byte, 24)
	_, err := rand.Read(bytes)
	fail(err, "drawing a token")
	return hex.EncodeToString(bytes)
}

// Writes all keys and tokens, and returns the administrator's.
func writeKeys(p plan) string {
	a := newAuthority(p)
	a.sign(p, "apiserver", pkix.Name{CommonName: "kube-apiserver"}, x509.ExtKeyUsageServerAuth, p.node(), p.Net+".2.1")
	a.sign(p, "to-kubelet", pkix.Name{CommonName: "apiserver-to-kubelet", Organization: []string{"system:masters"}},
		x509.ExtKeyUsageClientAuth)
	a.sign(p, "kubelet", pkix.Name{CommonName: "node1"}, x509.ExtKeyUsageServerAuth, p.node())
	signer := newKey(p.file("pki", "accounts.key"))
	der, err := x509.MarshalPKIXPublicKey(&signer.PublicKey)
	fail(err, "writing a key")
	writePem(p.file("pki", "accounts.pub"), "PUBLIC KEY", der)

	admin := newToken()
	tokens := fmt.Sprintf("%s,admin,admin,system:masters\n", admin)
	for part, user := range map[string]string{
		"manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler", "kubelet": "system:node:node1",
	} {
		token, groups := newToken(), ""
		if part == "kubelet" {
			groups = ",system:nodes"
		}
		tokens += fmt.Sprintf("%s,%s,%s%s\n", token, user, user, groups)
		write(p.file(part+".kubeconfig"), asJSON(map[string]any{
			"apiVersion": "v1", "kind": "Config", "current-context": "x",
			"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{
				"server": "https://" + p.node() + ":6443", "certificate-authority": p.file("ca.crt")}}},
			"users":    []any{map[string]any{"name": "u", "user": map[string]any{"token": token}}},
			"contexts": []any{map[string]any{"name": "x", "context": map[string]any{"cluster": "c", "user": "u"}}},
		}))
	}
	write(p.file("pki", "tokens.csv"), tokens)
	return admin
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	fail(err, "writing JSON")
	return string(text)
}

func writeSettings(p plan) {
	filled := strings.NewReplacer("RUN", p.Run, "PARTS", p.Parts, "NET", p.Net)
	write(p.file("containerd.toml"), filled.Replace(containerdSettings))
	write(p.file("cni", "10-pods.conflist"), filled.Replace(networkSettings))
	write(p.file("kubelet.yaml"), filled.Replace(kubeletSettings))
	write(p.file("resolv.conf"), "")
}

// Without CAP_SYS_RESOURCE nobody may lower the score, and runc then ends with "can't get final child's PID from pipe".
const containerdSettings = `version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "local.invalid/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "PARTS/cni"
    conf_dir = "RUN/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "PARTS/runc"
      SystemdCgroup = false
`

const networkSettings = `{"cniVersion":"0.4.0","name":"pods","plugins":[{"type":"bridge","bridge":"pods0","isDefaultGateway":true,"ipMasq":false,
 "ipam":{"type":"host-local","ranges":[[{"subnet":"NET.1.0/24"}]]}}]}
`

// No threshold evicts: a disk that happens to be full would.
const kubeletSettings = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: RUN/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: RUN/pki/kubelet.crt
tlsPrivateKeyFile: RUN/pki/kubelet.key
address: NET.0.2
healthzPort: 0
readOnlyPort: 0
resolvConf: RUN/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8
`
