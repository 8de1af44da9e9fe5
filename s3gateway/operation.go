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
	why         string // it is refused, if that needs words
	serve       func(context.Context, *exchange) error
	query       []string // parameters besides the one that selects the operation
	headers     []string // x-amz-* headers besides those common to all; "x-" at the end is a prefix
	refuse      *s3Error // the answer to what S3 does not have either
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
	byID          = []string{"id", "continuation-token"}
	aclHeaders    = with("x-amz-acl", "x-amz-grant-")
	createHeaders = append([]string{"x-amz-acl", "x-amz-grant-", "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"}, bodyHeaders...)
)

// with is a document's headers and others.
func with(names ...string) []string { return append(names, bodyHeaders...) }

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
	{bucketLevel, "GET", "uploads"}:   {name: "ListMultipartUploads", serve: listUploads, query: uploadsQuery},
	{bucketLevel, "POST", "delete"}:   {name: "DeleteObjects", serve: deleteObjects, headers: append(deleteHeaders, bodyHeaders...), mutates: true},
	{bucketLevel, "POST", ""}:         {name: "PostObject", serve: postObject, headers: postHeaders},
	{bucketLevel, "GET", "location"}:  {name: "GetBucketLocation", serve: bucketLocation},

	{bucketLevel, "GET", "accelerate"}:        {name: "GetBucketAccelerateConfiguration", serve: getSubresource},
	{bucketLevel, "GET", "acl"}:               {name: "GetBucketAcl", serve: getSubresource},
	{bucketLevel, "GET", "cors"}:              {name: "GetBucketCors", serve: getSubresource},
	{bucketLevel, "GET", "encryption"}:        {name: "GetBucketEncryption", serve: getBucketEncryption},
	{bucketLevel, "GET", "lifecycle"}:         {name: "GetBucketLifecycleConfiguration", serve: getSubresource},
	{bucketLevel, "GET", "logging"}:           {name: "GetBucketLogging", serve: getSubresource},
	{bucketLevel, "GET", "notification"}:      {name: "GetBucketNotificationConfiguration", serve: getSubresource},
	{bucketLevel, "GET", "object-lock"}:       {name: "GetObjectLockConfiguration", serve: getSubresource},
	{bucketLevel, "GET", "ownershipControls"}: {name: "GetBucketOwnershipControls", serve: getSubresource},
	{bucketLevel, "GET", "policy"}:            {name: "GetBucketPolicy", serve: getSubresource},
	{bucketLevel, "GET", "policyStatus"}:      {name: "GetBucketPolicyStatus", serve: getSubresource},
	{bucketLevel, "GET", "publicAccessBlock"}: {name: "GetPublicAccessBlock", serve: getSubresource},
	{bucketLevel, "GET", "replication"}:       {name: "GetBucketReplication", serve: getSubresource},
	{bucketLevel, "GET", "requestPayment"}:    {name: "GetBucketRequestPayment", serve: getSubresource},
	{bucketLevel, "GET", "tagging"}:           {name: "GetBucketTagging", serve: getSubresource},
	{bucketLevel, "GET", "versioning"}:        {name: "GetBucketVersioning", serve: getSubresource},
	{bucketLevel, "GET", "website"}:           {name: "GetBucketWebsite", serve: getSubresource},
	{bucketLevel, "PUT", "versioning"}:        {name: "PutBucketVersioning", serve: xmlOf("VersioningConfiguration"), headers: append([]string{"x-amz-mfa"}, bodyHeaders...), mutates: true},

	{bucketLevel, "PUT", "accelerate"}:        {name: "PutBucketAccelerateConfiguration", serve: xmlOf("AccelerateConfiguration"), headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "acl"}:               {name: "PutBucketAcl", serve: aclSchema.put, headers: aclHeaders, mutates: true},
	{bucketLevel, "PUT", "cors"}:              {name: "PutBucketCors", serve: xmlOf("CORSConfiguration"), headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "encryption"}:        {name: "PutBucketEncryption", serve: putBucketEncryption, headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "lifecycle"}:         {name: "PutBucketLifecycleConfiguration", serve: schema{root: "LifecycleConfiguration", limit: maxLifecycle}.put, headers: with("x-amz-transition-default-minimum-object-size"), mutates: true},
	{bucketLevel, "PUT", "logging"}:           {name: "PutBucketLogging", serve: loggingSchema.put, headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "notification"}:      {name: "PutBucketNotificationConfiguration", serve: xmlOf("NotificationConfiguration"), headers: with("x-amz-skip-destination-validation"), mutates: true},
	{bucketLevel, "PUT", "object-lock"}:       {name: "PutObjectLockConfiguration", serve: xmlOf("ObjectLockConfiguration"), headers: with("x-amz-bucket-object-lock-token"), mutates: true},
	{bucketLevel, "PUT", "ownershipControls"}: {name: "PutBucketOwnershipControls", serve: xmlOf("OwnershipControls"), headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "policy"}:            {name: "PutBucketPolicy", serve: putPolicy, headers: with("x-amz-confirm-remove-self-bucket-access"), mutates: true},
	{bucketLevel, "PUT", "publicAccessBlock"}: {name: "PutPublicAccessBlock", serve: xmlOf("PublicAccessBlockConfiguration"), headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "replication"}:       {name: "PutBucketReplication", why: whyReplication},
	{bucketLevel, "PUT", "requestPayment"}:    {name: "PutBucketRequestPayment", serve: xmlOf("RequestPaymentConfiguration"), headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "tagging"}:           {name: "PutBucketTagging", serve: schema{root: "Tagging"}.put, headers: bodyHeaders, mutates: true},
	{bucketLevel, "PUT", "website"}:           {name: "PutBucketWebsite", serve: xmlOf("WebsiteConfiguration"), headers: bodyHeaders, mutates: true},
	{bucketLevel, "DELETE", "cors"}:           {name: "DeleteBucketCors", serve: deleteSubresource, mutates: true},
	{bucketLevel, "DELETE", "encryption"}:     {name: "DeleteBucketEncryption", serve: deleteBucketEncryption, mutates: true},
	{bucketLevel, "DELETE", "lifecycle"}:      {name: "DeleteBucketLifecycle", serve: deleteSubresource, mutates: true},
	{bucketLevel, "DELETE", "policy"}:         {name: "DeleteBucketPolicy", serve: deleteSubresource, mutates: true},
	{bucketLevel, "DELETE", "replication"}:    {name: "DeleteBucketReplication", serve: deleteSubresource, mutates: true},
	{bucketLevel, "DELETE", "tagging"}:        {name: "DeleteBucketTagging", serve: deleteSubresource, mutates: true},
	{bucketLevel, "DELETE", "website"}:        {name: "DeleteBucketWebsite", serve: deleteSubresource, mutates: true},

	{bucketLevel, "DELETE", "ownershipControls"}: {name: "DeleteBucketOwnershipControls", serve: deleteSubresource, mutates: true},
	{bucketLevel, "DELETE", "publicAccessBlock"}: {name: "DeletePublicAccessBlock", serve: deleteSubresource, mutates: true},

	// Those of which a bucket has several, by id, are listed without one.
	{bucketLevel, "GET", "analytics"}:              {name: "GetBucketAnalyticsConfiguration", serve: getSubresource, query: byID},
	{bucketLevel, "PUT", "analytics"}:              {name: "PutBucketAnalyticsConfiguration", serve: analyticsSchema.put, query: byID, headers: bodyHeaders, mutates: true},
	{bucketLevel, "DELETE", "analytics"}:           {name: "DeleteBucketAnalyticsConfiguration", serve: deleteSubresource, query: byID, mutates: true},
	{bucketLevel, "GET", "intelligent-tiering"}:    {name: "GetBucketIntelligentTieringConfiguration", serve: getSubresource, query: byID},
	{bucketLevel, "PUT", "intelligent-tiering"}:    {name: "PutBucketIntelligentTieringConfiguration", serve: xmlOf("IntelligentTieringConfiguration"), query: byID, headers: bodyHeaders, mutates: true},
	{bucketLevel, "DELETE", "intelligent-tiering"}: {name: "DeleteBucketIntelligentTieringConfiguration", serve: deleteSubresource, query: byID, mutates: true},
	{bucketLevel, "GET", "inventory"}:              {name: "GetBucketInventoryConfiguration", serve: getSubresource, query: byID},
	{bucketLevel, "PUT", "inventory"}:              {name: "PutBucketInventoryConfiguration", why: whyInventory},
	{bucketLevel, "DELETE", "inventory"}:           {name: "DeleteBucketInventoryConfiguration", serve: deleteSubresource, query: byID, mutates: true},
	{bucketLevel, "GET", "metrics"}:                {name: "GetBucketMetricsConfiguration", serve: getSubresource, query: byID},
	{bucketLevel, "PUT", "metrics"}:                {name: "PutBucketMetricsConfiguration", serve: xmlOf("MetricsConfiguration"), query: byID, headers: bodyHeaders, mutates: true},
	{bucketLevel, "DELETE", "metrics"}:             {name: "DeleteBucketMetricsConfiguration", serve: deleteSubresource, query: byID, mutates: true},

	{bucketLevel, "GET", "session"}:                {name: "CreateSession", why: whySession},
	{bucketLevel, "POST", "metadataTable"}:         {name: "CreateBucketMetadataTableConfiguration", why: whyMetadata},
	{bucketLevel, "POST", "metadataConfiguration"}: {name: "CreateBucketMetadataConfiguration", why: whyMetadata},

	{objectLevel, "PUT", ""}:    {name: "PutObject", serve: putObject, headers: putHeaders, conditional: true},
	{objectLevel, "GET", ""}:    {name: "GetObject", serve: getObject, query: objectReadQuery, headers: customerHeaders, conditional: true},
	{objectLevel, "HEAD", ""}:   {name: "HeadObject", serve: headObject, query: objectReadQuery, headers: customerHeaders, conditional: true},
	{objectLevel, "DELETE", ""}: {name: "DeleteObject", serve: forward, query: version, headers: deleteHeaders, mutates: true, conditional: true},

	{objectLevel, "GET", "acl"}:        {name: "GetObjectAcl", serve: getSubresource, query: version},
	{objectLevel, "GET", "legal-hold"}: {name: "GetObjectLegalHold", serve: getSubresource, query: version},
	{objectLevel, "GET", "retention"}:  {name: "GetObjectRetention", serve: getSubresource, query: version},
	{objectLevel, "GET", "tagging"}:    {name: "GetObjectTagging", serve: getSubresource, query: version},

	{objectLevel, "GET", "attributes"}:   {name: "GetObjectAttributes", serve: getObjectAttributes, query: version, headers: append([]string{"x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"}, customerHeaders...)},
	{objectLevel, "GET", "torrent"}:      {name: "GetObjectTorrent", why: whyTorrent},
	{objectLevel, "GET", "uploadId"}:     {name: "ListParts", serve: listParts, query: []string{"max-parts", "part-number-marker", "encoding-type"}, headers: customerHeaders},
	{objectLevel, "PUT", "uploadId"}:     {name: "UploadPart", serve: uploadPart, query: []string{"partNumber"}, headers: append(bodyHeaders, customerHeaders...)},
	{objectLevel, "PUT", "acl"}:          {name: "PutObjectAcl", serve: aclSchema.put, query: version, headers: aclHeaders, mutates: true},
	{objectLevel, "PUT", "legal-hold"}:   {name: "PutObjectLegalHold", serve: legalHoldSchema.put, query: version, headers: bodyHeaders, mutates: true},
	{objectLevel, "PUT", "retention"}:    {name: "PutObjectRetention", serve: retentionSchema.put, query: version, headers: with("x-amz-bypass-governance-retention"), mutates: true},
	{objectLevel, "PUT", "tagging"}:      {name: "PutObjectTagging", serve: taggingSchema.put, query: version, headers: bodyHeaders, mutates: true},
	{objectLevel, "PUT", "append"}:       {name: "AppendObject", why: whyAppend},
	{objectLevel, "PUT", "renameObject"}: {name: "RenameObject", why: whyRename},
	{objectLevel, "POST", "uploads"}:     {name: "CreateMultipartUpload", serve: createMultipartUpload, headers: putHeaders, mutates: true},
	{objectLevel, "POST", "uploadId"}:    {name: "CompleteMultipartUpload", serve: completeMultipartUpload, headers: append([]string{"x-amz-mp-object-size"}, slices.Concat(bodyHeaders, customerHeaders)...), mutates: true, conditional: true},
	{objectLevel, "POST", "select"}:      {name: "SelectObjectContent", why: whySelect},
	{objectLevel, "POST", "restore"}:     {name: "RestoreObject", serve: restoreObject, query: version, headers: bodyHeaders, mutates: true},
	{objectLevel, "POST", "append"}:      {name: "AppendObject", why: whyAppend},
	{objectLevel, "DELETE", "uploadId"}:  {name: "AbortMultipartUpload", serve: abortMultipartUpload, headers: []string{"x-amz-if-match-initiated-time"}, mutates: true},
	{objectLevel, "DELETE", "tagging"}:   {name: "DeleteObjectTagging", serve: deleteSubresource, query: version, mutates: true},
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
				return operation{name: unknownName(r) + "And" + name, refuse: conflicting(r.sub, name)}, false
			}
			r.sub = name
		}
	}
	x.sub = r.sub
	if x.header.Get("X-Amz-Request-Route") != "" {
		return operation{name: "WriteGetObjectResponse", why: whyResponse}, true
	}
	op, ok := operations[r]
	if !ok {
		return operation{name: unknownName(r), refuse: methodNotAllowed(r)}, false
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
		return operation{name: "RenameObject", why: whyRename}, true
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
			return invalidArgument("The query parameter "+name+" is given more than once.").argument(name, values[0])
		}
	}
	for name := range x.header {
		lower := strings.ToLower(name)
		switch {
		case strings.HasPrefix(lower, "x-minio-"), strings.HasSuffix(lower, "snowball-auto-extract"):
			return notImplemented(op.name, "the header "+lower)
		case strings.HasPrefix(lower, "x-amz-") && !allowedHeader(lower, commonHeaders) && !allowedHeader(lower, op.headers):
			return because(notImplemented(op.name, "the header "+lower), whyHeader[lower])
		}
	}
	return nil
}

// whyHeader explains the refusal of headers that people miss.
var whyHeader = map[string]string{
	"x-amz-write-offset-bytes": whyAppend,
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
