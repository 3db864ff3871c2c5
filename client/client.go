package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/problem"
)

// Config says which server to speak to, and as whom.
type Config struct {
	// Address is the server's URL, "http://localhost:8440" or
	// "https://writ.example". Plain HTTP is for loopback only.
	Address string
	// Token is an API key or a session's token; empty for the few operations
	// that are open to everybody.
	Token string
	// Roots are the certificates that the server's must lead to; nil is the
	// system's.
	Roots *x509.CertPool
	// UserAgent names the program; "writ-client" if empty.
	UserAgent string
	// Transport replaces the HTTP transport, for tests. Roots is then not used.
	Transport http.RoundTripper
}

// Client speaks to one server with one token. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	agent string
	http  *http.Client
}

const (
	// callTimeout bounds one call. A revocation waits up to five seconds for
	// what it cuts, and a call must outlast that.
	callTimeout = 30 * time.Second
	// maxResponse bounds what is read of an answer that is not a stream or file.
	maxResponse = 64 << 20
	// tries is how often a read is sent. Other calls are sent once: a create
	// carries an idempotency key, so its caller may repeat it.
	tries = 3
	// retryAfter is the pause before the second try; it doubles.
	retryAfter = 100 * time.Millisecond
)

// New makes a Client. It sends nothing yet.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.Address)
	const fix = "give it as http://localhost:8440 or https://writ.example, with --server or WRIT_ADDR"
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || strings.Trim(base.Path, "/") != "" {
		return nil, writ.Invalid("address", "not the address of a server: "+writ.Printable(c.Address, 80), fix)
	}
	switch base.Scheme {
	case "https":
	case "http":
		// The token would be readable on the way.
		if !isLoopback(base.Hostname()) {
			return nil, writ.Invalid("address", "plain HTTP is for a server on this machine only", "use https://"+base.Host)
		}
	default:
		return nil, writ.Invalid("address", "not the address of a server: "+writ.Printable(c.Address, 80), fix)
	}
	for i := range len(c.Token) {
		if c.Token[i] <= ' ' || c.Token[i] >= 0x7f {
			return nil, writ.Invalid("token", "the token has a character that tokens do not have", "give the text of an API key as it was shown, without quotes or line ends")
		}
	}
	base.Path = ""
	cl := &Client{base: base, token: c.Token, agent: c.UserAgent}
	if cl.agent == "" {
		cl.agent = "writ-client"
	}
	transport := c.Transport
	if transport == nil {
		t := &http.Transport{
			Proxy:               http.ProxyFromEnvironment, // never for loopback
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     30 * time.Second,
			ForceAttemptHTTP2:   true,
			TLSClientConfig:     &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		}
		transport = t
	}
	// A redirect would carry the token to wherever it points.
	cl.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return cl, nil
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Address is the server's URL.
func (c *Client) Address() string { return c.base.String() }

// String names the server, never the token.
func (c *Client) String() string { return "writ server at " + c.Address() }

// GoString is String: %#v shows no token either.
func (c *Client) GoString() string { return c.String() }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request and where its answer goes.
type call struct {
	method string
	path   []string // segments, escaped by do
	query  url.Values
	body   any // JSON; nil for none
	out    any // filled from JSON; nil to throw the answer away
	create bool
}

func get(query url.Values, out any, path ...string) call {
	return call{method: http.MethodGet, path: path, query: query, out: out}
}

func post(body, out any, path ...string) call {
	return call{method: http.MethodPost, path: path, body: body, out: out}
}

// do sends a call and reads its answer.
func (c *Client) do(ctx context.Context, k call) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.send(ctx, k, "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return c.unavailable(err)
	}
	if len(b) > maxResponse {
		return c.unavailable(errors.New("the answer is larger than 64 MiB"))
	}
	if k.out == nil {
		return nil
	}
	if err := json.Unmarshal(b, k.out); err != nil {
		return writ.Errorf(writ.KindUnavailable, "the server at %s answered something that this program does not understand", c.base.Host).
			WithFix("check that it is a Writ server, and of this version: writ status").WithCause(err)
	}
	return nil
}

// send sends a call, a read up to three times, and turns an answer that is not
// a success into its error. The caller closes the body.
func (c *Client) send(ctx context.Context, k call, accept string) (*http.Response, error) {
	var body []byte
	if k.body != nil {
		b, err := json.Marshal(k.body)
		if err != nil {
			return nil, asError(err)
		}
		body = b
	}
	key := ""
	if k.create {
		key = IdempotencyKey(ctx)
		if key == "" {
			key = rand.Text()
		}
	}
	for try := 1; ; try++ {
		req, err := c.request(ctx, k, body)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", accept)
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := c.http.Do(req)
		again := k.method == http.MethodGet && try < tries
		switch {
		case err != nil && (!again || ctx.Err() != nil):
			return nil, c.unavailable(err)
		case err == nil && resp.StatusCode < 300:
			return resp, nil
		case err == nil && (!again || !passing(resp.StatusCode)):
			defer resp.Body.Close()
			return nil, c.problem(resp)
		case err == nil:
			resp.Body.Close()
		}
		if !pause(ctx, retryAfter<<(try-1)) {
			return nil, c.unavailable(ctx.Err())
		}
	}
}

// passing reports an answer that another try may turn into a success.
func passing(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Client) request(ctx context.Context, k call, body []byte) (*http.Request, error) {
	u := *c.base
	segments := make([]string, len(k.path))
	for i, s := range k.path {
		if s == "" || s == "." || s == ".." {
			return nil, writ.Invalid("name", "a name or id is missing", "name the thing that is meant")
		}
		segments[i] = url.PathEscape(s)
	}
	u.Path, u.RawPath = "/"+strings.Join(k.path, "/"), "/"+strings.Join(segments, "/")
	u.RawQuery = k.query.Encode()
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), r)
	if err != nil {
		return nil, writ.Errorf(writ.KindInvalid, "the request cannot be made").WithCause(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.sign(req.Header)
	return req, nil
}

func (c *Client) sign(h http.Header) {
	h.Set("User-Agent", c.agent)
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
}

// problem is the error that an answer stands for.
func (c *Client) problem(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var d problem.Document
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), problem.ContentType) || json.Unmarshal(b, &d) != nil || d.Type == "" {
		return writ.Errorf(writ.KindUnavailable, "what answers at %s is not a Writ server (HTTP %d)", c.base.Host, resp.StatusCode).
			WithFix("check the address: writ status")
	}
	d.Status = resp.StatusCode
	err := problem.FromDocument(d)
	var e *writ.Error
	if wait := resp.Header.Get("Retry-After"); wait != "" && errors.As(err, &e) {
		if n, bad := strconv.Atoi(wait); bad == nil && e.Fix == "" {
			return e.WithFix("wait %d s and try again", n)
		}
	}
	return err
}

func (c *Client) unavailable(err error) error {
	e := writ.Errorf(writ.KindUnavailable, "the server at %s does not answer", c.base.Host).WithCause(err)
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return writ.Errorf(writ.KindUnavailable, "the certificate of the server at %s is not trusted", c.base.Host).
			WithFix("give the certificate authority that issued it with --ca FILE").WithCause(err)
	case errors.Is(err, context.Canceled):
		return writ.Errorf(writ.KindUnavailable, "the call to %s was given up", c.base.Host).WithCause(err)
	case errors.Is(err, context.DeadlineExceeded):
		return e.WithWhy("no answer within the time allowed").WithFix("look whether it is busy or stuck: writ status")
	case isLoopback(c.base.Hostname()):
		return e.WithFix("start it with: writ server --dev")
	}
	return e.WithFix("check the address and the network: writ status")
}

func asError(err error) error {
	var e *writ.Error
	if errors.As(err, &e) {
		return e
	}
	return fmt.Errorf("client: %w", err)
}

type idempotencyKey struct{}

// WithIdempotencyKey makes a create that is called with the context carry this
// key instead of a random one, so that repeating the call after a lost answer
// creates nothing twice. 1 to 128 letters, digits, '-' and '_'.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, key)
}

// IdempotencyKey is the key that WithIdempotencyKey put into the context.
func IdempotencyKey(ctx context.Context) string {
	key, _ := ctx.Value(idempotencyKey{}).(string)
	return key
}
