// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

// The files that `sidekey dev` writes, filled from a devStack.
const (
	keysvcTemplate = `# The key service: AWS KMS API in front of the HSM.
keysvc:
  listen: {{.KMS}}
  region: {{.Region}}
  account: "{{.Account}}"
  store: sqlite://{{file "keys.db"}}
  principals:
    - name: admin
      access_key_id: {{.AdminID}}
      secret_access_key_file: {{file "admin.secret"}}
      allow:
        - actions: ["kms:*"]
          keys: ["*"]
    - name: sidecar
      access_key_id: {{.SidecarID}}
      secret_access_key_file: {{file "sidecar.secret"}}
      allow:
        - actions: ["kms:GenerateDataKey", "kms:Decrypt"]
          keys: ["{{.KeyAlias}}"]
hsm:
  uri: {{.TokenURI}}
audit:
  dir: {{file "audit-keysvc"}}
`
	proxyTemplate = `# The sidecar: S3 gateway, PostgreSQL proxy and forward proxy.
kms:
  endpoint: http://{{.KMS}}
  region: {{.Region}}
  access_key_id: {{.SidecarID}}
  secret_access_key_file: {{file "sidecar.secret"}}
cache:
  max_age: 5m
  lease: 2s
audit:
  dir: {{file "audit-proxy"}}
rules:
{{.Rules}}
s3:
  listen: {{.S3}}
  region: {{.Region}}
  upstream:
    endpoint: http://{{.UpstreamS3}}
    region: {{.Region}}
    access_key_id: {{.UpstreamID}}
    secret_access_key_file: {{file "upstream.secret"}}
  clients:
    - name: app
      access_key_id: {{.AppID}}
      secret_access_key_file: {{file "app.secret"}}
postgres:
  listen: {{.Postgres}}
  upstream:
    address: {{.UpstreamPostgres}}
  admin_url_file: {{file "postgres-admin.url"}}
forward:
  listen: {{.Forward}}
  ca_file: {{file "forward-ca.pem"}}
`
	defaultRules = `objects:
  - bucket: "*"
    key_id: alias/dev
columns:
  - {table: customers, column: email, type: text, mode: equality, key_id: alias/dev}
  - {table: customers, column: ssn, type: text, mode: random, key_id: alias/dev}
  - {table: customers, column: balance, type: "numeric(12,2)", mode: random, key_id: alias/dev}
`
	// Profiles: app through the sidecar, admin of the key service, and upstream
	// for looking around the sidecar.
	credentialsTemplate = `[app]
aws_access_key_id = {{.AppID}}
aws_secret_access_key = {{secret "app.secret"}}
[admin]
aws_access_key_id = {{.AdminID}}
aws_secret_access_key = {{secret "admin.secret"}}
[upstream]
aws_access_key_id = {{.UpstreamID}}
aws_secret_access_key = {{secret "upstream.secret"}}
`
	awsConfigTemplate = `[default]
region = {{.Region}}
[profile app]
region = {{.Region}}
s3 =
    addressing_style = path
[profile admin]
region = {{.Region}}
[profile upstream]
region = {{.Region}}
s3 =
    addressing_style = path
`
	pgpassTemplate = `127.0.0.1:*:*:app:{{secret "app.secret"}}
`
	envTemplate = `export SOFTHSM2_CONF={{file "softhsm2.conf"}}
export AWS_SHARED_CREDENTIALS_FILE={{file "aws-credentials"}}
export AWS_CONFIG_FILE={{file "aws-config"}}
export PGPASSFILE={{file "pgpass"}}
export S3_ENDPOINT=http://{{.S3}}                 # aws --profile app --endpoint-url $S3_ENDPOINT s3 ...
export KMS_ENDPOINT=http://{{.KMS}}                # aws --profile admin --endpoint-url $KMS_ENDPOINT kms ...
export DATABASE_URL="postgres://app@{{.Postgres}}/app"   # psql "$DATABASE_URL"
export UPSTREAM_S3_ENDPOINT=http://{{.UpstreamS3}}        # around the sidecar: aws --profile upstream ...
export UPSTREAM_DATABASE_URL="postgres://app@{{.UpstreamPostgres}}/app"
export SIDEKEY_FORWARD_PROXY=http://{{.Forward}}       # HTTPS_PROXY for clients with no endpoint set
export SIDEKEY_FORWARD_CA={{file "forward-ca.pem"}}   # AWS_CA_BUNDLE for them
export SIDEKEY_AUDIT="--dir {{file "audit-proxy"}} --dir {{file "audit-keysvc"}}"  # sidekey audit list $SIDEKEY_AUDIT
export SIDEKEY_KEY={{.KeyAlias}}
`
)
