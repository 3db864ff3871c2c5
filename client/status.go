package client

import (
	"context"
	"io"

	"writ.dev/writ"
)

// Status is how a server stands.
type Status struct {
	Version  string       `json:"version"`
	Mode     string       `json:"mode" doc:"dev or server"`
	Org      writ.ID      `json:"org"`
	OrgName  string       `json:"org_name"`
	Started  writ.Time    `json:"started"`
	Now      writ.Time    `json:"now"`
	Database string       `json:"database" doc:"sqlite, postgres or memory"`
	Proxy    string       `json:"proxy" doc:"address of the forward proxy"`
	Stopped  bool         `json:"stopped,omitempty" doc:"everything in the organization was stopped by hand"`
	Stale    bool         `json:"stale,omitempty" doc:"the server cannot prove its view fresh and denies"`
	CA       Authority    `json:"ca"`
	Ledger   LedgerStatus `json:"ledger"`
	Rests    []string     `json:"rests" nullable:"false" doc:"what Writ's promises rest on here, one sentence each"`
	Warnings []string     `json:"warnings,omitempty"`
}

// LedgerStatus is a short word on the log.
type LedgerStatus struct {
	Size           int64     `json:"size"`
	Checkpoint     int64     `json:"checkpoint" doc:"size at the newest checkpoint"`
	CheckpointTime writ.Time `json:"checkpoint_time,omitempty" doc:"of the newest entry that it covers"`
}

// Authority is the certificate authority of the intercepting proxy.
type Authority struct {
	Fingerprint string    `json:"fingerprint,omitempty" doc:"SHA-256 of the root certificate, hex pairs with colons"`
	Expires     writ.Time `json:"expires,omitempty"`
}

// Status tells how the server stands.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	out := &Status{}
	return out, c.do(ctx, get(nil, out, "v1", "status"))
}

// CA gives the proxy's root certificate as PEM.
func (c *Client) CA(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.send(ctx, get(nil, nil, "v1", "ca.pem"), "application/x-pem-file")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, c.unavailable(err)
	}
	return b, nil
}

// Ready reports whether the server answers and can serve.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, get(nil, nil, "readyz"))
}
