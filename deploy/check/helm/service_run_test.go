package helm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

// TestServicePod runs the gate as a mesh's: TLS for Envoys, and for probes and metrics too.
func TestServicePod(t *testing.T) {
	all := load(t, "{mode: service, service: {tls: {secret: gate-tls}}, redis: {secret: redis}, catalog: {inline: "+`"`+smallest+`"}}`)
	n := newNode(t, all, map[string]map[string]string{"postern": {}, "redis": {"url": "redis://127.0.0.1:1"}})
	cert, key := certificate(t, "shop-postern.edge.svc")
	n.secrets["gate-tls"] = map[string]string{"tls.crt": cert, "tls.key": key}
	bin := filepath.Join(n.dir, "postern.bin")
	buildGate(t, bin)
	file := filepath.Join(t.TempDir(), "postern.json")
	if out, err := exec.Command(bin, "key", "new", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.secrets["postern"]["postern.json"] = read(t, file)

	pod := all.pods()["Deployment/shop-postern"].Spec
	n.mount("pod", pod)
	gate := pod.Containers[0]
	n.start("postern", n.command(pod, gate, bin, gate.Args...))
	for _, p := range []*core.Probe{gate.StartupProbe, gate.LivenessProbe} {
		eventually(t, "probes without Redis", func() error { return n.probe(gate, p) })
	}
	if err := n.probe(gate, gate.ReadinessProbe); err == nil {
		t.Error("without Redis the gate is ready")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	for port, protocol := range map[string]string{"9000": "h2", "9102": "http/1.1"} {
		config := &tls.Config{RootCAs: roots, ServerName: "shop-postern.edge.svc", NextProtos: []string{protocol}}
		conn, err := tls.Dial("tcp", "127.0.0.1:"+n.ports[port], config)
		if err != nil {
			t.Errorf("port %s: %v", port, err)
			continue
		}
		conn.Close()
	}
}

// smallest is a catalog of one operation, on one line.
const smallest = `openapi: 3.1.0\ninfo: {title: a, version: '1'}\npaths: {/a: {get: {operationId: getA, summary: a, responses: {'200': {description: a}}}}}\n`

// certificate signs itself.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	text, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	encode := func(kind string, data []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", text)
}
