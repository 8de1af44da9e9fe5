// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"slices"
	"strings"
)

// level is what the path names.
type level byte

const (
	service level = iota
	bucketLevel
	objectLevel
)

// operation is one operation of S3. Without serve it is refused by name.
type operation struct {
	name        string
	serve       func(context.Context, *exchange) error
	query       []string // parameters besides the one that selects the operation
	headers     []string // x-amz-* headers besides those common to all; "x-" at the end is a prefix
	conditional bool     // If-Match and the like name the object's ETag
	mutates     bool     // the intent must be on disk before the upstream is asked
}

// route selects an operation: the level, the method, and the sub-resource
// parameter, "" for none.
type route struct {
	level  level
	method string
	sub    string
}

// commonHeaders of x-amz-* are allowed with every operation.
var commonHeaders = []string{
	"x-amz-date", "x-amz-content-sha256", "x-amz-user-agent", "x-amz-expected-bucket-owner", "x-amz-request-payer",
	"x-amz-sdk-checksum-algorithm", "x-amz-checksum-mode", "x-amz-optional-object-attributes",
	"x-amz-te", // an offer to append an MD5 to the answer, which nobody has to take
}

var (
	overrides = []string{
		"response-content-type", "response-content-language", "response-expires",
		"response-cache-control", "response-content-disposition", "response-content-encoding",
	}
	objectReadQuery = append([]string{"versionId", "partNumber"}, overrides...)
	listV1Query     = []string{"prefix", "delimiter", "max-keys", "marker", "encoding-type"}
	listV2Query     = []string{"prefix", "delimiter", "max-keys", "continuation-token", "start-after", "fetch-owner", "encoding-type"}
	versionsQuery   = []string{"prefix", "delimiter", "max-keys", "key-marker", "version-id-marker", "encoding-type"}
	uploadsQuery    = []string{"prefix", "delimiter", "max-uploads", "key-marker", "upload-id-marker", "encoding-type"}
	version         = []string{"versionId"}

	customerHeaders = []string{
		"x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-key", "x-amz-server-side-encryption-customer-key-md5",
	}
	bodyHeaders   = []string{"x-amz-checksum-", "x-amz-trailer", "x-amz-decoded-content-length"}
	deleteHeaders = []string{"x-amz-mfa", "x-amz-bypass-governance-retention", "x-amz-if-match-last-modified-time", "x-amz-if-match-size"}
	putHeaders    = append([]string{
		"x-amz-meta-", "x-amz-acl", "x-amz-grant-", "x-amz-storage-class", "x-amz-tagging", "x-amz-website-redirect-location",
		"x-amz-object-lock-", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-server-side-encryption-context", "x-amz-server-side-encryption-bucket-key-enabled",
	}, slices.Concat(bodyHeaders, customerHeaders)...)
	postHeaders = slices.DeleteFunc(slices.Clone(putHeaders), func(name string) bool {
		return name == "x-amz-trailer" || name == "x-amz-decoded-content-length"
	})
	createHeaders = append([]string{"x-amz-acl", "x-amz-grant-", "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"}, bodyHeaders...)
)

// operations is everything the gateway knows of. What is not here is refused
// too; what is here without serve is refused under its name.
var operations = map[route]operation{
	{service, "GET", ""}: {name: "ListBuckets", serve: forward, query: []string{"max-buckets", "continuation-token", "prefix", "bucket-region"}},

	{bucketLevel, "PUT", ""}:          {name: "CreateBucket", serve: createBucket, headers: createHeaders, mutates: true},
	{bucketLevel, "HEAD", ""}:         {name: "HeadBucket", serve: headBucket},
	{bucketLevel, "DELETE", ""}:       {name: "DeleteBucket", serve: deleteBucket, mutates: true},
	{bucketLevel, "GET", ""}:          {name: "ListObjects", serve: list, query: listV1Query},
	{bucketLevel, "GET", "list-type"}: {name: "ListObjectsV2", serve: list, query: listV2Query},
	{bucketLevel, "GET", "versions"}:  {name: "ListObjectVersions", serve: list, query: versionsQuery},
	{bucketLevel, "GET", "uploads"}:   {name: "ListMultipartUploads", serve: forward, query: uploadsQuery},
	{bucketLevel, "POST", "delete"}:   {name: "DeleteObjects", serve: deleteObjects, headers: append(deleteHeaders, bodyHeaders...), mutates: true},
	{bucketLevel, "POST", ""}:         {name: "PostObject", serve: postObject, headers: postHeaders},
	{bucketLevel, "GET", "location"}:  {name: "GetBucketLocation", serve: bucketLocation},

	{bucketLevel, "GET", "accelerate"}:        {name: "GetBucketAccelerateConfiguration", serve: forward},
	{bucketLevel, "GET", "acl"}:               {name: "GetBucketAcl", serve: forward},
	{bucketLevel, "GET", "cors"}:              {name: "GetBucketCors", serve: forward},
	{bucketLevel, "GET", "encryption"}:        {name: "GetBucketEncryption", serve: getBucketEncryption},
	{bucketLevel, "GET", "lifecycle"}:         {name: "GetBucketLifecycleConfiguration", serve: forward},
	{bucketLevel, "GET", "logging"}:           {name: "GetBucketLogging", serve: forward},
	{bucketLevel, "GET", "notification"}:      {name: "GetBucketNotificationConfiguration", serve: forward},
	{bucketLevel, "GET", "object-lock"}:       {name: "GetObjectLockConfiguration", serve: forward},
	{bucketLevel, "GET", "ownershipControls"}: {name: "GetBucketOwnershipControls", serve: forward},
	{bucketLevel, "GET", "policy"}:            {name: "GetBucketPolicy", serve: forward},
	{bucketLevel, "GET", "policyStatus"}:      {name: "GetBucketPolicyStatus", serve: forward},
	{bucketLevel, "GET", "publicAccessBlock"}: {name: "GetPublicAccessBlock", serve: forward},
	{bucketLevel, "GET", "replication"}:       {name: "GetBucketReplication", serve: forward},
	{bucketLevel, "GET", "requestPayment"}:    {name: "GetBucketRequestPayment", serve: forward},
	{bucketLevel, "GET", "tagging"}:           {name: "GetBucketTagging", serve: forward},
	{bucketLevel, "GET", "versioning"}:        {name: "GetBucketVersioning", serve: forward},
	{bucketLevel, "GET", "website"}:           {name: "GetBucketWebsite", serve: forward},
	{bucketLevel, "PUT", "versioning"}:        {name: "PutBucketVersioning", serve: putBucketVersioning, headers: append([]string{"x-amz-mfa"}, bodyHeaders...), mutates: true},

	{bucketLevel, "PUT", "accelerate"}:        {name: "PutBucketAccelerateConfiguration"},
	{bucketLevel, "PUT", "acl"}:               {name: "PutBucketAcl"},
	{bucketLevel, "PUT", "cors"}:              {name: "PutBucketCors"},
	{bucketLevel, "PUT", "encryption"}:        {name: "PutBucketEncryption", serve: putBucketEncryption, headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "inventory"}:         {name: "PutBucketInventoryConfiguration"},
	{bucketLevel, "PUT", "lifecycle"}:         {name: "PutBucketLifecycleConfiguration"},
	{bucketLevel, "PUT", "logging"}:           {name: "PutBucketLogging"},
	{bucketLevel, "PUT", "notification"}:      {name: "PutBucketNotificationConfiguration"},
	{bucketLevel, "PUT", "object-lock"}:       {name: "PutObjectLockConfiguration"},
	{bucketLevel, "PUT", "ownershipControls"}: {name: "PutBucketOwnershipControls"},
	{bucketLevel, "PUT", "policy"}:            {name: "PutBucketPolicy"},
	{bucketLevel, "PUT", "publicAccessBlock"}: {name: "PutPublicAccessBlock"},
	{bucketLevel, "PUT", "replication"}:       {name: "PutBucketReplication"},
	{bucketLevel, "PUT", "requestPayment"}:    {name: "PutBucketRequestPayment"},
	{bucketLevel, "PUT", "tagging"}:           {name: "PutBucketTagging"},
	{bucketLevel, "PUT", "website"}:           {name: "PutBucketWebsite"},
	{bucketLevel, "DELETE", "cors"}:           {name: "DeleteBucketCors"},
	{bucketLevel, "DELETE", "encryption"}:     {name: "DeleteBucketEncryption", serve: deleteBucketEncryption, mutates: true},
	{bucketLevel, "DELETE", "lifecycle"}:      {name: "DeleteBucketLifecycle"},
	{bucketLevel, "DELETE", "policy"}:         {name: "DeleteBucketPolicy"},
	{bucketLevel, "DELETE", "replication"}:    {name: "DeleteBucketReplication"},
	{bucketLevel, "DELETE", "tagging"}:        {name: "DeleteBucketTagging"},
	{bucketLevel, "DELETE", "website"}:        {name: "DeleteBucketWebsite"},

	{objectLevel, "PUT", ""}:    {name: "PutObject", serve: putObject, headers: putHeaders, conditional: true},
	{objectLevel, "GET", ""}:    {name: "GetObject", serve: getObject, query: objectReadQuery, headers: customerHeaders, conditional: true},
	{objectLevel, "HEAD", ""}:   {name: "HeadObject", serve: headObject, query: objectReadQuery, headers: customerHeaders, conditional: true},
	{objectLevel, "DELETE", ""}: {name: "DeleteObject", serve: forward, query: version, headers: deleteHeaders, mutates: true, conditional: true},

	{objectLevel, "GET", "acl"}:        {name: "GetObjectAcl", serve: forward, query: version},
	{objectLevel, "GET", "legal-hold"}: {name: "GetObjectLegalHold", serve: forward, query: version},
	{objectLevel, "GET", "retention"}:  {name: "GetObjectRetention", serve: forward, query: version},
	{objectLevel, "GET", "tagging"}:    {name: "GetObjectTagging", serve: forward, query: version},

	{objectLevel, "GET", "attributes"}:   {name: "GetObjectAttributes", serve: getObjectAttributes, query: version, headers: append([]string{"x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"}, customerHeaders...)},
	{objectLevel, "GET", "torrent"}:      {name: "GetObjectTorrent"},
	{objectLevel, "GET", "uploadId"}:     {name: "ListParts", serve: listParts, query: []string{"max-parts", "part-number-marker", "encoding-type"}, headers: customerHeaders},
	{objectLevel, "PUT", "uploadId"}:     {name: "UploadPart", serve: uploadPart, query: []string{"partNumber"}, headers: append(bodyHeaders, customerHeaders...)},
	{objectLevel, "PUT", "acl"}:          {name: "PutObjectAcl"},
	{objectLevel, "PUT", "legal-hold"}:   {name: "PutObjectLegalHold"},
	{objectLevel, "PUT", "retention"}:    {name: "PutObjectRetention"},
	{objectLevel, "PUT", "tagging"}:      {name: "PutObjectTagging"},
	{objectLevel, "PUT", "append"}:       {name: "AppendObject"},
	{objectLevel, "PUT", "renameObject"}: {name: "RenameObject"},
	{objectLevel, "POST", "uploads"}:     {name: "CreateMultipartUpload", serve: createMultipartUpload, headers: putHeaders, mutates: true},
	{objectLevel, "POST", "uploadId"}:    {name: "CompleteMultipartUpload", serve: completeMultipartUpload, headers: append([]string{"x-amz-mp-object-size"}, slices.Concat(bodyHeaders, customerHeaders)...), mutates: true, conditional: true},
	{objectLevel, "POST", "select"}:      {name: "SelectObjectContent"},
	{objectLevel, "POST", "restore"}:     {name: "RestoreObject"},
	{objectLevel, "POST", "append"}:      {name: "AppendObject"},
	{objectLevel, "DELETE", "uploadId"}:  {name: "AbortMultipartUpload", serve: abortMultipartUpload, headers: []string{"x-amz-if-match-initiated-time"}, mutates: true},
	{objectLevel, "DELETE", "tagging"}:   {name: "DeleteObjectTagging"},
}

// subresources are all parameters that select an operation on some route.
var subresources = func() map[level]map[string]bool {
	all := map[level]map[string]bool{service: {}, bucketLevel: {}, objectLevel: {}}
	for r := range operations {
		if r.sub != "" {
			all[r.level][r.sub] = true
		}
	}
	return all
}()

// recognise finds the operation of a request. An unknown one has a name too,
// for the record and the answer.
func recognise(x *exchange) (operation, bool) {
	r := route{level: service, method: x.r.Method}
	switch {
	case x.key != "" && x.form == nil:
		r.level = objectLevel
	case x.bucket != "":
		r.level = bucketLevel
	}
	for name := range x.query {
		if subresources[r.level][name] {
			if r.sub != "" {
				return operation{name: unknownName(r) + "And" + name}, false
			}
			r.sub = name
		}
	}
	op, ok := operations[r]
	if !ok {
		return operation{name: unknownName(r)}, false
	}
	if x.header.Get("X-Amz-Copy-Source") != "" {
		switch op.name {
		case "PutObject":
			return operation{name: "CopyObject", serve: copyObject, headers: copyRequestHeaders, mutates: true, conditional: true}, true
		case "UploadPart":
			return operation{name: "UploadPartCopy", serve: uploadPartCopy, query: []string{"partNumber"}, headers: copyRequestHeaders, mutates: true}, true
		}
	}
	if op.name == "DeleteObject" && x.header.Get("X-Amz-Rename-Source") != "" {
		return operation{name: "RenameObject"}, true
	}
	return op, true
}

func unknownName(r route) string {
	if strings.Trim(r.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || len(r.method) > 16 {
		r.method = "Unknown"
	}
	name := r.method + [...]string{"Service", "Bucket", "Object"}[r.level]
	if r.sub != "" {
		name += "-" + r.sub
	}
	return name
}

// checkRequest refuses every parameter and every x-amz-* header that the
// operation is not known to have: it might change where or how data is stored.
func checkRequest(x *exchange, op operation) error {
	for name, values := range x.query {
		if !subresources[x.level()][name] && !slices.Contains(op.query, name) {
			return notImplemented(op.name, "the query parameter "+name)
		}
		if len(values) > 1 {
			return invalidArgument("The query parameter " + name + " is given more than once.")
		}
	}
	for name := range x.header {
		lower := strings.ToLower(name)
		switch {
		case strings.HasPrefix(lower, "x-minio-"), strings.HasSuffix(lower, "snowball-auto-extract"):
			return notImplemented(op.name, "the header "+lower)
		case strings.HasPrefix(lower, "x-amz-") && !allowedHeader(lower, commonHeaders) && !allowedHeader(lower, op.headers):
			return notImplemented(op.name, "the header "+lower)
		}
	}
	return nil
}

func allowedHeader(name string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return a == name || strings.HasSuffix(a, "-") && strings.HasPrefix(name, a)
	})
}

func (x *exchange) level() level {
	switch {
	case x.key != "":
		return objectLevel
	case x.bucket != "":
		return bucketLevel
	}
	return service
}
