// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A client that asks first whether it may send a body of no bytes is told to,
// and then answered.
func TestExpectContinueOfAnEmptyBody(t *testing.T) {
	s := newMemoryStack(t)
	presigned, err := s3.NewPresignClient(s.app).PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("empty")})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	address, err := url.Parse(presigned.URL)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	for range 2 { // on one connection
		io.WriteString(conn, "PUT "+address.RequestURI()+" HTTP/1.1\r\nHost: "+address.Host+"\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n")
		for _, want := range []string{"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"} {
			line, err := answers.ReadString('\n')
			if err != nil || strings.TrimSpace(line) != want {
				t.Fatalf("got %q (%v), want %q", line, err, want)
			}
			for line != "\r\n" && err == nil {
				line, err = answers.ReadString('\n')
			}
		}
	}
	if got, _, err := s.get(t, "empty"); err != nil || len(got) != 0 {
		t.Errorf("got %q (%v)", got, err)
	}
}
