// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps key material out of core dumps and away from debuggers of the
// same user: the process is not dumpable and its core size limit is zero.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("making the process non-dumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("setting the core size limit: %w", err)
	}
	return nil
}

// ballast is memory that a server holds and never touches, so that it costs
// no more than addresses. The garbage collector runs when as much has been
// allocated as there was before: of a heap of 2 MB, hundreds of times a second
// under load. With this it may first allocate as much again.
const ballast = 16 << 20
