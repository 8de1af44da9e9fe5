// SPDX-License-Identifier: Apache-2.0

package dbproxy

// Codecs for tests.
var (
	DecodeValue = decodeValue
	EncodeValue = encodeValue
	FormFor     = formFor
	PlainForm   = plainForm
	PlanType    = planType
)
