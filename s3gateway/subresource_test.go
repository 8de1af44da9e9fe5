// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var (
	docs   = aws.String(bucket)
	locked = aws.String("other-bucket")
	tags   = &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a b"), Value: aws.String("c+d=e")}}}
)

// subresource is one of them: each step takes the client, of the gateway or of
// the store.
type subresource struct {
	put    func(*s3.Client) error
	get    func(*s3.Client) (any, error)
	want   any
	remove func(*s3.Client) error
	absent string // the code of get after remove
}

// run puts and removes through the gateway, and reads through it and around it.
func (c subresource) run(t *testing.T, s *stack) {
	if c.put != nil {
		if err := c.put(s.app); err != nil {
			t.Fatalf("PUT: %v", err)
		}
	}
	for name, client := range map[string]*s3.Client{"gateway": s.app, "store": s.store} {
		if got, err := c.get(client); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("GET from the %s: got %v, want %v, %v", name, got, c.want, err)
		}
	}
	if c.remove == nil {
		return
	}
	if err := c.remove(s.app); err != nil {
		t.Fatalf("DELETE: %v", err)
	}
	for name, client := range map[string]*s3.Client{"gateway": s.app, "store": s.store} {
		if got, err := c.get(client); code(err) != c.absent {
			t.Errorf("GET from the %s afterwards: got %v, %v", name, got, err)
		}
	}
	if err := c.remove(s.app); err != nil {
		t.Errorf("DELETE again: %v", err)
	}
	if _, err := s.store.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: docs}); err != nil {
		t.Errorf("the bucket is gone: %v", err)
	}
}

func TestSubresources(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	s.put(t, "k", content(100))
	_, err := s.app.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: locked, ObjectLockEnabledForBucket: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	lockedPut, err := s.app.PutObject(ctx, &s3.PutObjectInput{Bucket: locked, Key: aws.String("k"), Body: strings.NewReader("x")})
	if err != nil {
		t.Fatal(err)
	}
	key, versionID := aws.String("k"), lockedPut.VersionId
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for name, c := range map[string]subresource{
		"object tagging": {
			put: func(c *s3.Client) error {
				_, err := c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: docs, Key: key, Tagging: tags})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: docs, Key: key})
				if err == nil && len(out.TagSet) == 0 {
					return nil, fmt.Errorf("no tags")
				}
				return valueOf(out, err, func() any { return out.TagSet })
			},
			want: tags.TagSet,
		},
		"object tagging of a version": {
			put: func(c *s3.Client) error {
				_, err := c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: locked, Key: key, VersionId: versionID, Tagging: tags})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: locked, Key: key, VersionId: versionID})
				return valueOf(out, err, func() any { return [2]any{out.TagSet, *out.VersionId} })
			},
			want: [2]any{tags.TagSet, *versionID},
		},
		"object ACL": {
			put: func(c *s3.Client) error {
				_, err := c.PutObjectAcl(ctx, &s3.PutObjectAclInput{Bucket: docs, Key: key, ACL: types.ObjectCannedACLPrivate})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: docs, Key: key})
				return valueOf(out, err, func() any { return out.Grants[0].Permission })
			},
			want: types.PermissionFullControl,
		},
		"object ACL as a document": {
			put: func(c *s3.Client) error {
				_, err := c.PutObjectAcl(ctx, &s3.PutObjectAclInput{Bucket: docs, Key: key, AccessControlPolicy: &types.AccessControlPolicy{
					Owner:  &types.Owner{ID: aws.String("o")},
					Grants: []types.Grant{{Permission: types.PermissionFullControl, Grantee: &types.Grantee{Type: types.TypeCanonicalUser, ID: aws.String("o")}}},
				}})
				return err
			},
			get:  func(*s3.Client) (any, error) { return nil, nil },
			want: nil,
		},
		"legal hold": {
			put: func(c *s3.Client) error {
				_, err := c.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: locked, Key: key, LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetObjectLegalHold(ctx, &s3.GetObjectLegalHoldInput{Bucket: locked, Key: key})
				return valueOf(out, err, func() any { return out.LegalHold.Status })
			},
			want: types.ObjectLockLegalHoldStatusOn,
		},
		"retention": {
			put: func(c *s3.Client) error {
				_, err := c.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{Bucket: locked, Key: key, VersionId: versionID, BypassGovernanceRetention: aws.Bool(true),
					Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeGovernance, RetainUntilDate: &until}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: locked, Key: key, VersionId: versionID})
				return valueOf(out, err, func() any { return out.Retention.RetainUntilDate.UTC() })
			},
			want: until,
		},
		"bucket tagging": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: docs, Tagging: tags})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.TagSet })
			},
			want: tags.TagSet,
			remove: func(c *s3.Client) error {
				_, err := c.DeleteBucketTagging(ctx, &s3.DeleteBucketTaggingInput{Bucket: docs})
				return err
			},
			absent: "NoSuchTagSet",
		},
		"lifecycle": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: docs, LifecycleConfiguration: &types.BucketLifecycleConfiguration{
					Rules: []types.LifecycleRule{{ID: aws.String("r"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("tmp/")}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(3)}}},
				}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: docs})
				return valueOf(out, err, func() any { return *out.Rules[0].ID + *out.Rules[0].Filter.Prefix })
			},
			want: "rtmp/",
			remove: func(c *s3.Client) error {
				_, err := c.DeleteBucketLifecycle(ctx, &s3.DeleteBucketLifecycleInput{Bucket: docs})
				return err
			},
			absent: "NoSuchLifecycleConfiguration",
		},
		"policy": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: docs, Policy: aws.String(publicPolicy)})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: docs})
				if err != nil {
					return nil, err
				}
				state, err := c.GetBucketPolicyStatus(ctx, &s3.GetBucketPolicyStatusInput{Bucket: docs})
				return valueOf(out, err, func() any {
					return [2]any{strings.Contains(*out.Policy, "docs/public/*"), *state.PolicyStatus.IsPublic}
				})
			},
			want: [2]any{true, false},
			remove: func(c *s3.Client) error {
				_, err := c.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: docs})
				return err
			},
			absent: "NoSuchBucketPolicy",
		},
		"object lock": {
			put: func(c *s3.Client) error {
				_, err := c.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: locked, ObjectLockConfiguration: &types.ObjectLockConfiguration{
					ObjectLockEnabled: types.ObjectLockEnabledEnabled,
					Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeGovernance, Days: aws.Int32(2)}},
				}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: locked})
				return valueOf(out, err, func() any { return *out.ObjectLockConfiguration.Rule.DefaultRetention.Days })
			},
			want: int32(2),
		},
		"versioning": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: docs, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.Status })
			},
			want: types.BucketVersioningStatusSuspended,
		},
		"notification": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{Bucket: docs, NotificationConfiguration: &types.NotificationConfiguration{}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketNotificationConfiguration(ctx, &s3.GetBucketNotificationConfigurationInput{Bucket: docs})
				return valueOf(out, err, func() any { return len(out.QueueConfigurations) })
			},
			want: 0,
		},
		"bucket ACL": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: docs, ACL: types.BucketCannedACLPrivate})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.Grants[0].Permission })
			},
			want: types.PermissionFullControl,
		},
	} {
		t.Run(name, func(t *testing.T) { c.run(t, s) })
	}
	if _, err := s.app.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: docs, Key: key}); err != nil {
		t.Errorf("DeleteObjectTagging: %v", err)
	}
	if out, err := s.store.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: docs, Key: key}); err != nil || len(out.TagSet) != 0 {
		t.Errorf("after DeleteObjectTagging: %v, %v", out, err)
	}
	if got, _, err := s.get(t, "k"); err != nil || !bytes.Equal(got, content(100)) {
		t.Errorf("the object afterwards: %d bytes, %v", len(got), err)
	}
}

// valueOf reads an answer only if there is one.
func valueOf(_ any, err error, value func() any) (any, error) {
	if err != nil {
		return nil, err
	}
	return value(), nil
}

const publicPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::docs/public/*"]}]}`

// TestSubresourceErrors has the store's errors pass.
func TestSubresourceErrors(t *testing.T) {
	s := newMinIOStack(t)
	s.put(t, "k", content(100))
	ctx := t.Context()
	for want, call := range map[string]func(*s3.Client) error{
		"NoSuchKey": func(c *s3.Client) error {
			_, err := c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: docs, Key: aws.String("absent"), Tagging: tags})
			return err
		},
		"NoSuchBucket": func(c *s3.Client) error {
			_, err := c.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: aws.String("absent"), Tagging: tags})
			return err
		},
		"NoSuchVersion": func(c *s3.Client) error {
			_, err := c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: docs, Key: aws.String("k"), VersionId: aws.String("5d0ee3e7-4a3c-4a5e-9a3c-1a2b3c4d5e6f"), Tagging: tags})
			return err
		},
		"InvalidRequest": func(c *s3.Client) error { // a bucket without object lock
			_, err := c.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: docs, Key: aws.String("k"), LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}})
			return err
		},
		"NoSuchWebsiteConfiguration": func(c *s3.Client) error {
			_, err := c.GetBucketWebsite(ctx, &s3.GetBucketWebsiteInput{Bucket: docs})
			return err
		},
		"InvalidObjectState": func(c *s3.Client) error {
			_, err := c.RestoreObject(ctx, &s3.RestoreObjectInput{Bucket: docs, Key: aws.String("k"), RestoreRequest: &types.RestoreRequest{Days: aws.Int32(1)}})
			return err
		},
	} {
		if direct, through := call(s.store), call(s.app); code(through) != want || code(direct) != want || status(through) != status(direct) {
			t.Errorf("%s: got %v, from the store itself %v", want, through, direct)
		}
	}
}

// TestStoreThatKnowsNoSubresources makes sure that no store takes a request for
// one of the object or bucket itself.
func TestStoreThatKnowsNoSubresources(t *testing.T) {
	document := map[string]string{
		"tagging": "<Tagging><TagSet/></Tagging>", "retention": "<Retention/>", "legal-hold": "<LegalHold/>", "acl": "<AccessControlPolicy/>",
		"cors": "<CORSConfiguration/>", "lifecycle": "<LifecycleConfiguration/>", "policy": "{}", "accelerate": "<AccelerateConfiguration/>",
		"publicAccessBlock": "<PublicAccessBlockConfiguration/>", "ownershipControls": "<OwnershipControls/>", "website": "<WebsiteConfiguration/>",
		"requestPayment": "<RequestPaymentConfiguration/>", "logging": "<BucketLoggingStatus/>", "notification": "<NotificationConfiguration/>",
		"object-lock": "<ObjectLockConfiguration/>", "versioning": "<VersioningConfiguration/>", "metrics&id=i": "<MetricsConfiguration/>",
		"intelligent-tiering&id=i": "<IntelligentTieringConfiguration/>", "analytics&id=i": "<AnalyticsConfiguration/>", "inventory&id=i": "",
	}
	for name, s := range map[string]*stack{"memory": newMemoryStack(t), "MinIO": newMinIOStack(t), "unknowing": newUnknowing(t)} {
		t.Run(name, func(t *testing.T) {
			s.put(t, "k", content(1000))
			for sub, text := range document {
				for _, target := range []string{"/docs/k?" + sub, "/docs/absent?" + sub, "/absent?" + sub} {
					s.do(t, s.rawRequest(t, "GET", target, "", nil))
					s.do(t, s.rawRequest(t, "PUT", target, text, nil))
					s.do(t, s.rawRequest(t, "DELETE", target, "", nil))
				}
				s.mustBeAbsent(t, "absent")
				if got, _, err := s.get(t, "k"); err != nil || !bytes.Equal(got, content(1000)) {
					t.Fatalf("%s: the object has become %d bytes, %v", sub, len(got), err)
				}
				if _, err := s.store.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("absent")}); err == nil {
					t.Fatalf("%s: a bucket was made", sub)
				}
			}
			if _, err := s.app.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: docs, Key: aws.String("k")}); err != nil {
				t.Fatal(err)
			}
			for sub, text := range document {
				// MinIO takes some of these for requests of the bucket.
				s.do(t, s.rawRequest(t, "PUT", "/docs?"+sub, text, nil))
				s.do(t, s.rawRequest(t, "DELETE", "/docs?"+sub, "", nil))
				if _, err := s.store.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: docs}); err != nil {
					t.Fatalf("%s: the empty bucket is gone: %v", sub, err)
				}
			}
		})
	}
}

// newUnknowing is a gateway before a store that sees paths only.
func newUnknowing(t *testing.T) *stack {
	t.Helper()
	h := newHostile(t)
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = ""
		h.honest.ServeHTTP(w, r)
	})
	return h.stack
}

// configured is a store that keeps the documents of sub-resources, as S3 does for
// those that MinIO has not: what is put is what is got.
type configured struct {
	mu        sync.Mutex
	documents map[string]string // by path and query
	requests  []*http.Request
	problems  []string
}

func (c *configured) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, _ := io.ReadAll(r.Body)
	c.requests = append(c.requests, r)
	query := r.URL.Query()
	query.Del("x-id")
	name := r.URL.Path + "?" + query.Encode()
	switch r.Method {
	case http.MethodHead:
	case http.MethodPut:
		if r.URL.RawQuery != "" {
			c.check(r, text)
			c.documents[name] = string(text)
		}
	case http.MethodDelete:
		delete(c.documents, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		if _, ok := c.documents[name]; !ok {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "<Error><Code>NoSuchConfiguration</Code><Message>m</Message></Error>")
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		io.WriteString(w, c.documents[name])
	}
}

func (c *configured) check(r *http.Request, text []byte) {
	sum, hash := md5.Sum(text), sha256.Sum256(text)
	if len(text) > 0 && r.Header.Get("Content-Md5") != base64.StdEncoding.EncodeToString(sum[:]) {
		c.problems = append(c.problems, r.URL.String()+": the MD5 is not that of the document")
	}
	if r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(hash[:]) {
		c.problems = append(c.problems, r.URL.String()+": the document is not signed")
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum") || name == "X-Amz-Sdk-Checksum-Algorithm" {
			c.problems = append(c.problems, r.URL.String()+": the client's "+name+" went on")
		}
	}
}

func newConfigured(t *testing.T) (*configured, *stack) {
	t.Helper()
	c := &configured{documents: map[string]string{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	s := newStack(t, server.URL)
	t.Cleanup(func() {
		for _, problem := range c.problems {
			t.Error(problem)
		}
	})
	return c, s
}

// TestConfigurationsThatMinIOHasNot passes what only AWS and a few others keep.
func TestConfigurationsThatMinIOHasNot(t *testing.T) {
	_, s := newConfigured(t)
	ctx := t.Context()
	id := aws.String("i")
	for name, c := range map[string]subresource{
		"CORS": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketCors(ctx, &s3.PutBucketCorsInput{Bucket: docs, CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{AllowedMethods: []string{"GET"}, AllowedOrigins: []string{"https://app.test"}}}}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketCors(ctx, &s3.GetBucketCorsInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.CORSRules[0].AllowedOrigins[0] })
			},
			want: "https://app.test",
			remove: func(c *s3.Client) error {
				_, err := c.DeleteBucketCors(ctx, &s3.DeleteBucketCorsInput{Bucket: docs})
				return err
			},
		},
		"website": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketWebsite(ctx, &s3.PutBucketWebsiteInput{Bucket: docs, WebsiteConfiguration: &types.WebsiteConfiguration{IndexDocument: &types.IndexDocument{Suffix: aws.String("index.html")}}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketWebsite(ctx, &s3.GetBucketWebsiteInput{Bucket: docs})
				return valueOf(out, err, func() any { return *out.IndexDocument.Suffix })
			},
			want: "index.html",
			remove: func(c *s3.Client) error {
				_, err := c.DeleteBucketWebsite(ctx, &s3.DeleteBucketWebsiteInput{Bucket: docs})
				return err
			},
		},
		"ownership controls": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{Bucket: docs, OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipObjectWriter}}}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.OwnershipControls.Rules[0].ObjectOwnership })
			},
			want: types.ObjectOwnershipObjectWriter,
			remove: func(c *s3.Client) error {
				_, err := c.DeleteBucketOwnershipControls(ctx, &s3.DeleteBucketOwnershipControlsInput{Bucket: docs})
				return err
			},
		},
		"public access block": {
			put: func(c *s3.Client) error {
				_, err := c.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: docs, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{BlockPublicAcls: aws.Bool(true)}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: docs})
				return valueOf(out, err, func() any { return *out.PublicAccessBlockConfiguration.BlockPublicAcls })
			},
			want: true,
			remove: func(c *s3.Client) error {
				_, err := c.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: docs})
				return err
			},
		},
		"request payment": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketRequestPayment(ctx, &s3.PutBucketRequestPaymentInput{Bucket: docs, RequestPaymentConfiguration: &types.RequestPaymentConfiguration{Payer: types.PayerRequester}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketRequestPayment(ctx, &s3.GetBucketRequestPaymentInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.Payer })
			},
			want: types.PayerRequester,
		},
		"accelerate": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketAccelerateConfiguration(ctx, &s3.PutBucketAccelerateConfigurationInput{Bucket: docs, AccelerateConfiguration: &types.AccelerateConfiguration{Status: types.BucketAccelerateStatusEnabled}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketAccelerateConfiguration(ctx, &s3.GetBucketAccelerateConfigurationInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.Status })
			},
			want: types.BucketAccelerateStatusEnabled,
		},
		"logging": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketLogging(ctx, &s3.PutBucketLoggingInput{Bucket: docs, BucketLoggingStatus: &types.BucketLoggingStatus{}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketLogging(ctx, &s3.GetBucketLoggingInput{Bucket: docs})
				return valueOf(out, err, func() any { return out.LoggingEnabled == nil })
			},
			want: true,
		},
		"metrics": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketMetricsConfiguration(ctx, &s3.PutBucketMetricsConfigurationInput{Bucket: docs, Id: id, MetricsConfiguration: &types.MetricsConfiguration{Id: id}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketMetricsConfiguration(ctx, &s3.GetBucketMetricsConfigurationInput{Bucket: docs, Id: id})
				return valueOf(out, err, func() any { return *out.MetricsConfiguration.Id })
			},
			want: "i",
		},
		"intelligent tiering": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketIntelligentTieringConfiguration(ctx, &s3.PutBucketIntelligentTieringConfigurationInput{Bucket: docs, Id: id, IntelligentTieringConfiguration: &types.IntelligentTieringConfiguration{
					Id: id, Status: types.IntelligentTieringStatusEnabled, Tierings: []types.Tiering{{AccessTier: types.IntelligentTieringAccessTierArchiveAccess, Days: aws.Int32(90)}}}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketIntelligentTieringConfiguration(ctx, &s3.GetBucketIntelligentTieringConfigurationInput{Bucket: docs, Id: id})
				return valueOf(out, err, func() any { return *out.IntelligentTieringConfiguration.Id })
			},
			want: "i",
		},
		"analytics": {
			put: func(c *s3.Client) error {
				_, err := c.PutBucketAnalyticsConfiguration(ctx, &s3.PutBucketAnalyticsConfigurationInput{Bucket: docs, Id: id, AnalyticsConfiguration: &types.AnalyticsConfiguration{
					Id: id, StorageClassAnalysis: &types.StorageClassAnalysis{}}})
				return err
			},
			get: func(c *s3.Client) (any, error) {
				out, err := c.GetBucketAnalyticsConfiguration(ctx, &s3.GetBucketAnalyticsConfigurationInput{Bucket: docs, Id: id})
				return valueOf(out, err, func() any { return *out.AnalyticsConfiguration.Id })
			},
			want: "i",
		},
	} {
		c.absent = "NoSuchConfiguration"
		t.Run(name, func(t *testing.T) { c.run(t, s) })
	}
}

// TestHeadersOfSubresources looks at what reaches the store.
func TestHeadersOfSubresources(t *testing.T) {
	c, s := newConfigured(t)
	for _, test := range []struct{ target, text, header string }{
		{"/docs/k?acl", "", "X-Amz-Acl"},
		{"/docs?acl", "", "X-Amz-Grant-Read"},
		{"/docs/k?retention&versionId=v", "<Retention><Mode>GOVERNANCE</Mode></Retention>", "X-Amz-Bypass-Governance-Retention"},
		{"/docs?policy", "{}", "X-Amz-Confirm-Remove-Self-Bucket-Access"},
		{"/docs?object-lock", "<ObjectLockConfiguration/>", "X-Amz-Bucket-Object-Lock-Token"},
		{"/docs?notification", "<NotificationConfiguration/>", "X-Amz-Skip-Destination-Validation"},
		{"/docs?lifecycle", "<LifecycleConfiguration/>", "X-Amz-Transition-Default-Minimum-Object-Size"},
		{"/docs?versioning", "<VersioningConfiguration/>", "X-Amz-Mfa"},
		{"/docs?tagging", "<Tagging/>", "X-Amz-Expected-Bucket-Owner"},
		{"/docs/k?tagging", "<Tagging/>", "X-Amz-Request-Payer"},
	} {
		c.documents[strings.Split(test.target, "?")[0]+"?acl="] = "<AccessControlPolicy/>"
		status, e := s.do(t, s.rawRequest(t, "PUT", test.target, test.text, map[string]string{test.header: "a=b"}))
		last := c.requests[len(c.requests)-1]
		if status != http.StatusOK || last.Method != "PUT" || last.Header.Get(test.header) != "a=b" {
			t.Errorf("%s: %d %+v; the store saw %s %s %v", test.target, status, e, last.Method, last.URL, last.Header)
		}
		if strings.Contains(test.target, "versionId") && last.URL.Query().Get("versionId") != "v" {
			t.Errorf("%s: the store saw %s", test.target, last.URL)
		}
		// The very same header with another operation is refused.
		if slices.Contains([]string{"X-Amz-Expected-Bucket-Owner", "X-Amz-Request-Payer"}, test.header) {
			continue
		}
		before := len(c.requests)
		if status, e := s.do(t, s.rawRequest(t, "PUT", "/docs?cors", "<CORSConfiguration/>", map[string]string{test.header: "a=b"})); status != http.StatusNotImplemented || len(c.requests) != before {
			t.Errorf("%s with PutBucketCors: %d %+v", test.header, status, e)
		}
	}
}

// TestBadDocuments are refused before the store hears of them.
func TestBadDocuments(t *testing.T) {
	c, s := newConfigured(t)
	long := strings.Repeat("x", 70<<10)
	for name, test := range map[string]struct{ target, text, want string }{
		"empty":                 {"/docs?tagging", "", "MalformedXML"},
		"no XML":                {"/docs?tagging", "content", "MalformedXML"},
		"another root":          {"/docs?lifecycle", "<Tagging/>", "MalformedXML"},
		"two roots":             {"/docs?tagging", "<Tagging/><Tagging/>", "MalformedXML"},
		"text after":            {"/docs?tagging", "<Tagging/>content", "MalformedXML"},
		"text before":           {"/docs?tagging", "content<Tagging/>", "MalformedXML"},
		"not ended":             {"/docs?tagging", "<Tagging>", "MalformedXML"},
		"crossed":               {"/docs?tagging", "<Tagging><a></Tagging></a>", "MalformedXML"},
		"document type":         {"/docs?tagging", `<!DOCTYPE Tagging [<!ENTITY a "b">]><Tagging>&a;</Tagging>`, "MalformedXML"},
		"external entity":       {"/docs?lifecycle", `<!DOCTYPE L [<!ENTITY a SYSTEM "file:///etc/passwd">]><LifecycleConfiguration>&a;</LifecycleConfiguration>`, "MalformedXML"},
		"unknown entity":        {"/docs?tagging", "<Tagging>&a;</Tagging>", "MalformedXML"},
		"document type, delete": {"/docs?delete", `<!DOCTYPE Delete [<!ENTITY a "b">]><Delete/>`, "MalformedXML"},
		"instruction":           {"/docs?tagging", `<?php x?><Tagging/>`, "MalformedXML"},
		"another encoding":      {"/docs?tagging", `<?xml version="1.0" encoding="UTF-7"?><Tagging/>`, "MalformedXML"},
		"not UTF-8":             {"/docs?tagging", "<Tagging>\xff</Tagging>", "MalformedXML"},
		"another name space":    {"/docs?tagging", `<Tagging xmlns="urn:x"/>`, "MalformedXML"},
		"depth":                 {"/docs?tagging", "<Tagging>" + strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20) + "</Tagging>", "MalformedXML"},
		"size":                  {"/docs?tagging", "<Tagging>" + long + "</Tagging>", "MaxMessageLengthExceeded"},
		"policy":                {"/docs?policy", "<Policy/>", "MalformedPolicy"},
		"policy, two":           {"/docs?policy", "{}{}", "MalformedPolicy"},
		"policy, list":          {"/docs?policy", "[]", "MalformedPolicy"},
		"policy, size":          {"/docs?policy", `{"a":"` + long + `"}`, "MaxMessageLengthExceeded"},
		// What an object's document could hide.
		"object: text":      {"/docs/k?tagging", "<Tagging>content</Tagging>", "MalformedXML"},
		"object: text in":   {"/docs/k?tagging", "<Tagging><TagSet>content</TagSet></Tagging>", "MalformedXML"},
		"object: element":   {"/docs/k?tagging", "<Tagging><Content>x</Content></Tagging>", "MalformedXML"},
		"object: comment":   {"/docs/k?tagging", "<Tagging><!-- content --></Tagging>", "MalformedXML"},
		"object: attribute": {"/docs/k?tagging", `<Tagging><TagSet content="x"/></Tagging>`, "MalformedXML"},
		"object: retention": {"/docs/k?retention", "<Retention><Mode><x/></Mode></Retention>", "MalformedXML"},
		"object: ACL":       {"/docs/k?acl", "<AccessControlPolicy><x/></AccessControlPolicy>", "MalformedXML"},
		"object: hold":      {"/docs/k?legal-hold", "<LegalHold>ON</LegalHold>", "MalformedXML"},
		// What would have the store write or send by itself.
		"select":            {"/docs/k?restore", "<RestoreRequest><Type>SELECT</Type></RestoreRequest>", "NotImplemented"},
		"select to":         {"/docs/k?restore", "<RestoreRequest><OutputLocation/></RestoreRequest>", "NotImplemented"},
		"logging":           {"/docs?logging", "<BucketLoggingStatus><LoggingEnabled><TargetBucket>b</TargetBucket></LoggingEnabled></BucketLoggingStatus>", "NotImplemented"},
		"logging, prefixed": {"/docs?logging", `<s:BucketLoggingStatus xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/"><s:LoggingEnabled/></s:BucketLoggingStatus>`, "NotImplemented"},
		"analytics":         {"/docs?analytics&id=i", "<AnalyticsConfiguration><StorageClassAnalysis><DataExport/></StorageClassAnalysis></AnalyticsConfiguration>", "NotImplemented"},
		"replication":       {"/docs?replication", "<ReplicationConfiguration/>", "NotImplemented"},
		"inventory":         {"/docs?inventory&id=i", "<InventoryConfiguration/>", "NotImplemented"},
	} {
		method := "PUT"
		if strings.Contains(test.target, "?restore") || strings.Contains(test.target, "?delete") {
			method = "POST"
		}
		before := len(c.requests)
		if _, e := s.do(t, s.rawRequest(t, method, test.target, test.text, nil)); e.Code != test.want {
			t.Errorf("%s: got %+v", name, e)
		}
		if len(c.requests) != before {
			t.Errorf("%s: the store was asked", name)
		}
	}
	for name, header := range map[string]map[string]string{
		"BadDigest":                 {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
		"InvalidDigest":             {"Content-MD5": "AAAA"},
		"XAmzContentSHA256Mismatch": {"x-amz-content-sha256": strings.Repeat("0", 64)},
	} {
		before := len(c.requests)
		if _, e := s.do(t, s.rawRequest(t, "PUT", "/docs?tagging", "<Tagging/>", header)); e.Code != name || len(c.requests) != before {
			t.Errorf("%s: got %+v", name, e)
		}
	}
}

// TestReasons has refusals say why.
func TestReasons(t *testing.T) {
	s := newMemoryStack(t)
	for target, want := range map[string]string{
		"POST /docs/k?select&select-type=2": "query on ciphertext", "GET /docs/k?torrent": "torrent", "PUT /docs/k?append": "extended in place",
		"PUT /docs?replication": "at the store", "PUT /docs?inventory&id=i": "at the store", "PUT /docs/k?renameObject": "copy it",
	} {
		method, target, _ := strings.Cut(target, " ")
		if _, e := s.do(t, s.rawRequest(t, method, target, "", nil)); !strings.Contains(e.Message, want) {
			t.Errorf("%s: got %+v", target, e)
		}
	}
}

// TestMethodNotAllowed asks for what S3 does not have either.
func TestMethodNotAllowed(t *testing.T) {
	s := newMemoryStack(t)
	for target, allow := range map[string][]string{
		"PATCH /docs/k": {"GET", "HEAD", "PUT", "DELETE"}, "POST /": {"GET"}, "POST /docs/k": {"GET", "HEAD", "PUT", "DELETE"},
		"POST /docs?tagging": {"GET", "PUT", "DELETE"}, "DELETE /docs/k?acl": {"GET", "PUT"}, "DELETE /docs?versioning": {"GET", "PUT"},
	} {
		method, target, _ := strings.Cut(target, " ")
		answer, err := http.DefaultClient.Do(s.rawRequest(t, method, target, "", nil))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusMethodNotAllowed || !bytes.Contains(text, []byte("<Code>MethodNotAllowed</Code>")) ||
			!bytes.Contains(text, []byte("<Method>"+method+"</Method>")) || !slices.Equal(answer.Header["Allow"], allow) {
			t.Errorf("%s %s: got %s, Allow %v: %s", method, target, answer.Status, answer.Header["Allow"], text)
		}
	}
	if status, e := s.do(t, s.rawRequest(t, "PUT", "/docs/k?tagging&acl", "", nil)); status != 400 || e.Message != "Conflicting query string parameters: acl, tagging" {
		t.Errorf("got %d %+v", status, e)
	}
}
