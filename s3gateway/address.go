// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// hosts finds bucket and key in a request.
type hosts struct{ domains []string }

func newHosts(domains []string) hosts {
	h := hosts{}
	for _, d := range domains {
		h.domains = append(h.domains, strings.ToLower(strings.TrimSuffix(d, ".")))
	}
	return h
}

// awsHost matches the general S3 endpoints: s3.amazonaws.com, s3.REGION...,
// s3-REGION..., s3.dualstack.REGION..., and s3-fips. Access points, websites,
// Express and Object Lambda have other names and are refused below.
var awsHost = regexp.MustCompile(`^(?:(.+)\.)?s3(?:-fips)?(?:[.-](?:dualstack\.)?[a-z]{2}(?:-[a-z]+)+-\d+)?\.amazonaws\.com(?:\.cn)?$`)

// target returns the bucket and the decoded key. The path is taken as it is:
// nothing is cleaned, so that "a//b" and "a/../b" are keys of their own.
func (h hosts) target(r *http.Request) (bucket, key string, err error) {
	path, ok := strings.CutPrefix(r.URL.Path, "/")
	if !ok && r.URL.Path != "" {
		return "", "", &s3Error{code: "InvalidURI", status: http.StatusBadRequest, message: "The path must begin with a slash."}
	}
	bucket, err = h.bucket(r.Host)
	if err != nil {
		return "", "", err
	}
	if bucket != "" {
		key = path
	} else {
		bucket, key, _ = strings.Cut(path, "/")
	}
	if bucket == "" && key != "" || bucket != "" && !bucketName.MatchString(bucket) || bucket == reservedBucket {
		return "", "", &s3Error{code: "InvalidBucketName", status: http.StatusBadRequest, message: "The specified bucket is not valid.", fields: [][2]string{{"BucketName", bucket}}}
	}
	if err := checkKey(key); err != nil {
		return "", "", err
	}
	return bucket, key, nil
}

// maxKey is S3's limit on a key, in bytes of UTF-8.
const maxKey = 1024

func checkKey(key string) error {
	if !utf8.ValidString(key) {
		return &s3Error{code: "InvalidURI", status: http.StatusBadRequest, message: "The key is not UTF-8."}
	}
	if len(key) > maxKey {
		return &s3Error{
			code: "KeyTooLongError", status: http.StatusBadRequest, message: "Your key is too long",
			fields: [][2]string{{"Size", strconv.Itoa(len(key))}, {"MaxSizeAllowed", strconv.Itoa(maxKey)}},
		}
	}
	return nil
}

// bucketName allows what any S3 service ever did; the upstream is stricter.
var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$`)

// reservedBucket is the path under which MinIO has its administration, which
// takes the same signatures as S3. With the gateway's credentials it would be
// open to every client.
const reservedBucket = "minio"

// bucket returns the bucket that the host names, "" for path style.
func (h hosts) bucket(host string) (string, error) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return "", nil
	}
	for _, domain := range h.domains {
		if host == domain {
			return "", nil
		}
		if bucket, ok := strings.CutSuffix(host, "."+domain); ok {
			return bucket, nil
		}
	}
	if match := awsHost.FindStringSubmatch(host); match != nil {
		return match[1], nil
	}
	if strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn") {
		return "", notImplemented("this kind of endpoint", "")
	}
	return "", nil
}
