// SPDX-License-Identifier: Apache-2.0

package dbproxy

import "time"

// Codecs for tests.
var (
	DecodeValue = decodeValue
	EncodeValue = encodeValue
)

// Observe has f told of the steps of a migration.
func (m *Migrator) Observe(f func(string)) { m.step = f }

// Hasten shortens the waits of a migration.
func (m *Migrator) Hasten(settle, pause time.Duration) { m.settle, m.pause = settle, pause }
