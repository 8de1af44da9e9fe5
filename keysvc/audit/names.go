package audit

import "go.opentelemetry.io/otel/attribute"

// Services that write logs.
const (
	ServiceKeysvc = "sidekey-keysvc"
	ServiceProxy  = "sidekey-proxy"
)

// Names of spans. Those that end in a dot are prefixes to the name of an
// operation; see [SpanKMS], [SpanHSM] and [SpanS3].
const (
	SpanPrefixKMS    = "kms."
	SpanPrefixHSM    = "hsm."
	SpanPrefixMemory = "memory."
	SpanPrefixS3     = "s3."

	SpanHSMEncrypt      = "hsm.encrypt"
	SpanHSMDecrypt      = "hsm.decrypt"
	SpanHSMGenerateKey  = "hsm.generate_key"
	SpanHSMRandom       = "hsm.random"
	SpanDataKeyUse      = "datakey.use"
	SpanDataKeyGenerate = "datakey.generate"
	SpanDataKeyDecrypt  = "datakey.decrypt"
	SpanPostgresQuery   = "postgres.query"
	SpanPostgresSession = "postgres.session"
	SpanForwardConnect  = "forward.connect"
	SpanMigrateColumn   = "pg.MigrateColumn"
	SpanVerifyColumn    = "pg.VerifyColumn"
)

// SpanKMS names the span of an AWS KMS operation, such as Decrypt.
func SpanKMS(operation string) string { return SpanPrefixKMS + operation }

// SpanHSM names the span of a call to the HSM, such as encrypt.
func SpanHSM(call string) string { return SpanPrefixHSM + call }

// SpanMemory names the span of a use of a key in the memory of the key
// service, such as sign.
func SpanMemory(call string) string { return SpanPrefixMemory + call }

// SpanS3 names the span of an S3 operation, such as PutObject.
func SpanS3(operation string) string { return SpanPrefixS3 + operation }

// Names of attributes. None ever holds a plaintext, an SQL literal or key
// material. Values of an encryption context are not secret: AWS CloudTrail
// logs them too.
const (
	Principal              = attribute.Key("sidekey.principal")
	KeyARN                 = attribute.Key("sidekey.key.arn")
	KeyVersion             = attribute.Key("sidekey.key.version")
	EncryptionContext      = attribute.Key("sidekey.encryption_context")
	EncryptionContextKeys  = attribute.Key("sidekey.encryption_context.keys")
	DestinationContext     = attribute.Key("sidekey.destination_encryption_context")
	DestinationContextKeys = attribute.Key("sidekey.destination_encryption_context.keys")
	Outcome                = attribute.Key("sidekey.outcome")
	Cache                  = attribute.Key("sidekey.cache")
	DataKeyID              = attribute.Key("sidekey.data_key.id")
	Uses                   = attribute.Key("sidekey.uses")
	RequestID              = attribute.Key("sidekey.request_id")
	GrantID                = attribute.Key("sidekey.grant.id")
	Columns                = attribute.Key("sidekey.columns")
	Rows                   = attribute.Key("sidekey.rows")
	Bytes                  = attribute.Key("sidekey.bytes")
	Reason                 = attribute.Key("sidekey.reason")
	S3Bucket               = attribute.Key("aws.s3.bucket")
	S3Key                  = attribute.Key("aws.s3.key")
	S3CopySource           = attribute.Key("aws.s3.copy_source")
	S3UploadID             = attribute.Key("aws.s3.upload_id")
	S3VersionID            = attribute.Key("aws.s3.version_id")
	S3PartNumber           = attribute.Key("aws.s3.part_number")
	Foreign                = attribute.Key("sidekey.foreign")
	HTTPMethod             = attribute.Key("http.request.method")
	HTTPStatus             = attribute.Key("http.response.status_code")
	DBSystem               = attribute.Key("db.system.name")
	DBNamespace            = attribute.Key("db.namespace")
	DBUser                 = attribute.Key("db.user")
	DBOperation            = attribute.Key("db.operation.name")
	DBQueryFingerprint     = attribute.Key("db.query.fingerprint")
	Replication            = attribute.Key("sidekey.replication")
	ServerAddress          = attribute.Key("server.address")
	ClientAddress          = attribute.Key("client.address")
)

// Values of the attribute Cache.
const (
	CacheHit   = "hit"
	CacheMiss  = "miss"
	CacheRenew = "renew"
)
