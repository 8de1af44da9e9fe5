// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"

	"github.com/agext/levenshtein"
)

// didYouMean is a hint at the name nearest to a wrong one, or "" if none is near.
func didYouMean(got string, names ...string) string {
	best, distance := "", 1+len(got)/2
	for _, name := range names {
		if d := levenshtein.Distance(got, name, nil); d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return fmt.Sprintf(" (known: %v)", names)
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}
