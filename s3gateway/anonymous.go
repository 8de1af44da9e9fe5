// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sidekey/sidekey/keysvc/sigv4"
)

// anonymousPrincipal is how the audit log names requests without a signature. No
// client may have the name.
const anonymousPrincipal = "anonymous"

// Anonymous allows requests without a signature.
type Anonymous struct {
	// Bucket is a bucket's name, or "*".
	Bucket string `yaml:"bucket"`

	// Prefix is one of object names. Empty means all of the bucket.
	Prefix string `yaml:"prefix"`

	// Actions are some of read (GetObject, HeadObject), list (ListObjects and
	// ListObjectsV2, of a prefix that begins with Prefix) and write (PutObject,
	// PostObject). None of them reaches older versions.
	Actions []string `yaml:"actions"`
}

var anonymousActions = []string{"read", "list", "write"}

// anonymousOperations are the actions by the names of their operations.
var anonymousOperations = map[string]string{
	"GetObject": "read", "HeadObject": "read",
	"ListObjects": "list", "ListObjectsV2": "list",
	"PutObject": "write", "PostObject": "write",
}

func (a Anonymous) validate() error {
	if a.Bucket != "*" && (!bucketName.MatchString(a.Bucket) || a.Bucket == reservedBucket) {
		return fmt.Errorf(`bucket: want a bucket's name, or "*"`)
	}
	if len(a.Actions) == 0 {
		return fmt.Errorf("actions: missing; want some of %s", strings.Join(anonymousActions, ", "))
	}
	for _, action := range a.Actions {
		if !slices.Contains(anonymousActions, action) {
			return fmt.Errorf("actions: %q is unknown; want some of %s", action, strings.Join(anonymousActions, ", "))
		}
	}
	return nil
}

func (a Anonymous) allows(action, bucket, name string) bool {
	return (a.Bucket == "*" || a.Bucket == bucket) && strings.HasPrefix(name, a.Prefix) && slices.Contains(a.Actions, action)
}

var errUnsigned = &s3Error{code: "AccessDenied", status: http.StatusForbidden, message: "Access Denied"}

func isUnsigned(err error) bool {
	var e *sigv4.Error
	return errors.As(err, &e) && e.Code == sigv4.MissingAuthentication
}

// unsigned lets a request without a signature on to where it is known what it asks
// for, which checkAnonymous decides about.
func (x *exchange) unsigned(v *sigv4.Verified) (*sigv4.Verified, error) {
	if len(x.g.anonymous) == 0 {
		return nil, errUnsigned
	}
	x.anonymous = true
	return v, nil
}

// privilegedHeaders are each under a permission of its own in S3, not that to write.
var privilegedHeaders = []string{
	"x-amz-grant-", "x-amz-tagging", "x-amz-object-lock-",
	"x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-context",
}

// checkAnonymous refuses what the configuration does not allow without a
// signature. What it refuses is no operation yet and goes on no record, as all
// that is not authenticated.
func (x *exchange) checkAnonymous(op operation) error {
	if !x.anonymous {
		return nil
	}
	action, name := anonymousOperations[op.name], x.key
	if action == "list" {
		name = x.query.Get("prefix")
	}
	if action == "" || x.query.Has("versionId") || !slices.ContainsFunc(x.g.anonymous, func(a Anonymous) bool {
		return a.allows(action, x.bucket, name)
	}) {
		return errUnsigned
	}
	for header := range x.header {
		if action == "write" && allowedHeader(strings.ToLower(header), privilegedHeaders) {
			return errUnsigned
		}
	}
	for _, override := range overrides {
		if x.query.Has(override) {
			return invalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
		}
	}
	return nil
}
