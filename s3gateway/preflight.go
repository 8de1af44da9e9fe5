// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"net/http"
)

// Fields of a preflight request, RFC 9110 tokens in lists.
const (
	originHeader         = "Origin"
	requestMethodHeader  = "Access-Control-Request-Method"
	requestHeadersHeader = "Access-Control-Request-Headers"
)

// preflight passes a browser's question whether it may make a request, and the
// store's answer from the bucket's CORS rules. Browsers do not sign it, and it
// goes on without the gateway's credentials: nobody gets by it more than the
// store tells everyone. It touches no data and no key, and is not on record, as
// are no other requests that nobody has signed.
func (x *exchange) preflight() error {
	x.name = "OPTIONS"
	bucket, key, err := x.g.hosts.target(x.r)
	if err != nil {
		return err
	}
	if bucket == "" {
		return methodNotAllowed(route{level: service, method: http.MethodOptions})
	}
	if err := checkPreflight(x.r.Header); err != nil {
		return err
	}
	if !x.g.slots.take() {
		return errSlowDown
	}
	defer x.g.slots.free()
	c := call{bucket: bucket, key: key}
	req := (&http.Request{
		Method: http.MethodOptions, URL: x.g.upstream.url(c), Host: x.g.upstream.hostOf(bucket), Header: http.Header{},
	}).WithContext(x.r.Context())
	copyHeaders(req.Header, x.r.Header, []string{originHeader, requestMethodHeader, requestHeadersHeader})
	req.Header.Set("User-Agent", "sidekey")
	resp, err := x.g.upstream.transport.RoundTrip(req)
	if err != nil {
		return unreachable(err)
	}
	defer drain(resp.Body)
	return x.answerPreflight(resp)
}

func checkPreflight(header http.Header) error {
	badRequest := func(message string) error {
		return &s3Error{code: "BadRequest", status: http.StatusBadRequest, message: message}
	}
	switch {
	case len(header[originHeader]) != 1 || header.Get(originHeader) == "":
		return badRequest("Insufficient information. Origin request header needed.")
	case len(header[requestMethodHeader]) != 1 || header.Get(requestMethodHeader) == "":
		return badRequest("Invalid Access-Control-Request-Method: null")
	}
	return nil
}

// answerPreflight passes on a permission, and says of everything else that there
// is none.
func (x *exchange) answerPreflight(resp *http.Response) error {
	switch {
	case resp.StatusCode/100 == 2:
		copyHeaders(x.w.Header(), resp.Header, corsHeaders)
		x.w.Header().Set("Content-Length", "0")
		x.writeHeader(http.StatusOK)
		return nil
	case resp.StatusCode >= 500:
		return x.g.upstream.readError(resp, http.MethodOptions)
	}
	return &s3Error{
		code: "AccessForbidden", status: http.StatusForbidden, message: "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
		fields: [][2]string{{"Method", x.r.Header.Get(requestMethodHeader)}, {"ResourceType", "BUCKET"}},
	}
}
