// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sidekey/sidekey/keysvc/keysvctest"
)

// One trace goes from the application through the gateway and the key service
// down to the HSM, and `audit show` prints it as a tree.
func TestTraceReachesTheHSM(t *testing.T) {
	people(t)
	text := canary(t, shared)
	bucket := shared.bucket(t, "traced")
	put(t, shared.app(t), bucket, "object", []byte(text))
	mustPsql(t, shared.env["DATABASE_URL"], "insert into people (id, c_secret) values (601, '"+text+"')")
	time.Sleep(2500 * time.Millisecond) // the leases end: the next uses ask the key service

	const s3Trace, sqlTrace = "11111111111111111111111111111111", "22222222222222222222222222222222"
	presigned, err := s3.NewPresignClient(shared.app(t)).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: ptr("object")})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, presigned.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("traceparent", "00-"+s3Trace+"-00000000000000aa-00") // not sampled by the caller: recorded all the same
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || string(body) != text {
		t.Errorf("GET: %q, %v", body, err)
	}
	mustPsql(t, shared.env["DATABASE_URL"], "select c_secret from people where id = 601 /*traceparent='00-"+sqlTrace+"-00000000000000bb-01'*/")

	for trace, root := range map[string]string{s3Trace: "s3.GetObject", sqlTrace: "postgres.query"} {
		tree, err := shared.run(shared.binary, "audit", "show", trace, "--dir", shared.path("audit-proxy"), "--dir", shared.path("audit-keysvc"))
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, span := range []string{root, "kms.Decrypt", "hsm.decrypt"} {
			next := strings.Index(tree[at:], span)
			if next < 0 {
				t.Errorf("no %s below the spans before it:\n%s", span, tree)
				break
			}
			at += next
		}
		if strings.Contains(tree, "unknown") {
			t.Errorf("a span has no outcome:\n%s", tree)
		}
	}
}

// A collector that is away at first gets every span in the end.
func TestSpansAreExported(t *testing.T) {
	address := freeAddress(t) // of a collector that is away
	dir := t.TempDir()
	s3Address, pgAddress := freeAddress(t), freeAddress(t)
	config := readFile(t, shared.path("proxy.yaml"))
	config = strings.Replace(config, "audit:\n  dir: "+shared.path("audit-proxy"),
		fmt.Sprintf("audit:\n  dir: %s\n  otlp:\n    endpoint: http://%s", filepath.Join(dir, "audit"), address), 1)
	config = strings.Replace(config, hostOf(shared.env["S3_ENDPOINT"]), s3Address, 1)
	config = strings.Replace(config, "listen: "+hostOf(shared.env["DATABASE_URL"]), "listen: "+pgAddress, 1)
	config = strings.Replace(config, hostOf(shared.env["SIDEKEY_FORWARD_PROXY"]), freeAddress(t), 1)
	config = strings.Replace(config, shared.path("forward-ca.pem"), filepath.Join(dir, "ca.pem"), 1)
	path := writeFile(t, config)
	proxy, err := startProcess(filepath.Join(dir, "log"), nil, shared.binary, "proxy", "--config", path)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.stop(9)
	if err := proxy.waitForAddress(s3Address); err != nil {
		t.Fatal(err)
	}
	client := shared.s3Client(t, "app", "http://"+s3Address)
	bucket := "exported"
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	const objects = 20
	for i := range objects {
		put(t, client, bucket, fmt.Sprintf("object-%d", i), []byte("x"))
	}
	collector := startCollector(t, address)
	deadline := time.Now().Add(time.Minute)
	for collector.count("s3.PutObject") < objects {
		if time.Now().After(deadline) {
			t.Fatalf("the collector got %d of %d spans", collector.count("s3.PutObject"), objects)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := collector.count("s3.PutObject"); got != objects {
		t.Errorf("the collector got %d spans, want %d", got, objects)
	}
	if collector.count("datakey.use") == 0 {
		t.Error("no use of a data key was exported")
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := keysvctest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// A collector takes spans over OTLP/HTTP and keeps them by their IDs.
type collector struct {
	mu    sync.Mutex // guards names
	names map[string]string
}

func startCollector(t *testing.T, address string) *collector {
	t.Helper()
	c := &collector{names: map[string]string{}}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: c}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reader = unzipped
	}
	body, err := io.ReadAll(reader)
	var request collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.add(span)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) add(span *tracepb.Span) { c.names[string(span.SpanId)] = span.Name }

func (c *collector) count(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, got := range c.names {
		if got == name {
			n++
		}
	}
	return n
}
