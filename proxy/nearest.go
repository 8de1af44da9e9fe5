// SPDX-License-Identifier: Apache-2.0

package proxy

import "fmt"

// didYouMean is a hint at the name nearest to a wrong one, or "" if none is near.
func didYouMean(got string, names ...string) string {
	best, distance := "", 1+len(got)/2
	for _, name := range names {
		if d := editDistance(got, name); d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return fmt.Sprintf(" (known: %v)", names)
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// editDistance is Levenshtein's: how many bytes to insert, delete or change.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
