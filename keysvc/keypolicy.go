// SPDX-License-Identifier: Apache-2.0

package keysvc

// newPolicy is the policy of a new key: the given one, checked, or the default.
func (s *Service) newPolicy(r *request, document *string, bypass bool) (string, error) {
	if document != nil {
		return "", unsupported("Policy is not supported by this key service: key policies are not enforced.")
	}
	return "", nil
}
