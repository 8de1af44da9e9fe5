package forward

import "time"

// SignAnyHost makes a certificate for a host that the proxy itself would
// refuse, as someone who stole the CA's key could.
func (p *Proxy) SignAnyHost(host string) ([]byte, error) {
	c, err := p.ca.sign(host, p.ca.now())
	if err != nil {
		return nil, err
	}
	return c.Certificate[0], nil
}

// Local tells whether an address is refused unless it is allowed outright.
var Local = local

// LeafSerials makes the certificate of a host at each of the given times and
// returns the serial numbers.
func (p *Proxy) LeafSerials(host string, at ...time.Time) ([]string, error) {
	var serials []string
	for _, now := range at {
		p.ca.mu.Lock()
		p.ca.now = func() time.Time { return now }
		p.ca.mu.Unlock()
		c, err := p.ca.leaf(host)
		if err != nil {
			return nil, err
		}
		serials = append(serials, c.Leaf.SerialNumber.String())
	}
	return serials, nil
}
