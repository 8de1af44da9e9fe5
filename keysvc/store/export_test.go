// SPDX-License-Identifier: Apache-2.0

package store

// OpenTimeout is Open with another timeout.
var OpenTimeout = open
