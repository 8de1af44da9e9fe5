// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
)

// While the key service and then the sidecar are killed and come back, every
// operation of several clients either fails or does what it says, and nothing
// that was acknowledged is lost.
func TestChaos(t *testing.T) {
	people(t)
	text := canary(t, shared)
	bucket := shared.bucket(t, "chaos")
	run, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var worked, failed atomic.Int64
	count := func(err error) bool {
		if err != nil {
			failed.Add(1)
			time.Sleep(20 * time.Millisecond)
			return false
		}
		worked.Add(1)
		return true
	}
	for n := range 4 {
		clients.Go(func() { chaosS3(run, t, bucket, fmt.Sprintf("%s-%d", text, n), n, count) })
		clients.Go(func() { chaosPostgres(run, t, fmt.Sprintf("%s-%d", text, n), int64(1000*(n+1)), count) })
	}
	for range 3 {
		time.Sleep(2 * time.Second)
		shared.keysvc.command.Process.Kill()
		<-shared.keysvc.exited
		time.Sleep(3 * time.Second) // longer than the lease
		if err := shared.startKeysvc(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		shared.proxy.command.Process.Kill()
		<-shared.proxy.exited
		if err := shared.startProxy(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
	stop()
	clients.Wait()
	t.Logf("%d operations worked, %d failed", worked.Load(), failed.Load())
	if worked.Load() == 0 || failed.Load() == 0 {
		t.Error("the processes were not in the clients' way, or the clients did nothing")
	}
}

// chaosS3 puts an object again and again and reads what it last put.
func chaosS3(ctx context.Context, t *testing.T, bucket, text string, n int, count func(error) bool) {
	client := shared.app(t)
	key := fmt.Sprintf("object-%d", n)
	acknowledged, possible := -1, -1 // versions: the last that certainly is, the last that may be
	body := func(version int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%s %d\n", text, version), 3000) }
	for version := 0; ctx.Err() == nil; version++ {
		possible = version
		_, err := client.PutObject(context.WithoutCancel(ctx), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body(version))})
		if count(err) {
			acknowledged = version
		}
		got, err := get(context.WithoutCancel(ctx), client, bucket, key)
		if !count(err) {
			continue
		}
		ok := false
		for v := max(acknowledged, 0); v <= possible; v++ {
			ok = ok || bytes.Equal(got, body(v))
		}
		if !ok {
			t.Errorf("%s: %d bytes that are no version between %d and %d", key, len(got), acknowledged, possible)
		}
	}
}

// chaosPostgres inserts rows and reads each that was acknowledged.
func chaosPostgres(ctx context.Context, t *testing.T, text string, first int64, count func(error) bool) {
	background := context.WithoutCancel(ctx)
	config, err := pgx.ParseConfig(shared.env["DATABASE_URL"])
	if err != nil {
		t.Error(err)
		return
	}
	config.Password = shared.secret(t, "app")
	var conn *pgx.Conn
	var acknowledged []int64
	for id := first; ctx.Err() == nil; id++ {
		if conn == nil || conn.IsClosed() {
			if conn, err = pgx.ConnectConfig(background, config); !count(err) {
				conn = nil
				continue
			}
		}
		secret := fmt.Sprintf("%s %d", text, id)
		if _, err = conn.Exec(background, "insert into people (id, c_secret, c_text) values ($1, $2, $3)", id, secret, secret); !count(err) {
			continue
		}
		acknowledged = append(acknowledged, id)
		var got string
		if err = conn.QueryRow(background, "select c_secret from people where c_text = $1", secret).Scan(&got); count(err) && got != secret {
			t.Errorf("row %d: another value", id)
		}
	}
	conn, err = pgx.ConnectConfig(background, config)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(background)
	for _, id := range acknowledged {
		var got string
		err := conn.QueryRow(background, "select c_secret from people where id = $1", id).Scan(&got)
		if err != nil || got != fmt.Sprintf("%s %d", text, id) {
			t.Errorf("acknowledged row %d: %v", id, err)
		}
	}
}
