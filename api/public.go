package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// stream is an answer that writes itself. The gate has let its caller in.
type stream struct{ Body func(huma.Context) }

// raw makes a stream of a handler of package net/http.
func raw(h func(http.ResponseWriter, *http.Request)) *stream {
	return &stream{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		h(w, r.WithContext(ctx.Context()))
	}}
}

// text is an answer of a given type that is not JSON.
func text(media string, body []byte) *stream {
	return raw(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(body)
	})
}

func (s *Server) publicRoutes() {
	operate(s, operation{id: "healthz", method: "GET", path: "/healthz", tag: "server", access: anyone, media: "text/plain",
		summary: "Whether the process answers"},
		func(context.Context, *struct{}) (*stream, error) { return text("text/plain", []byte("ok\n")), nil })

	operate(s, operation{id: "readyz", method: "GET", path: "/readyz", tag: "server", access: anyone, media: "application/json",
		summary: "Whether the server can serve: its database answers and its view is fresh"},
		func(ctx context.Context, _ *struct{}) (*Out[Ready], error) {
			if err := s.ready(ctx); err != nil {
				return nil, err
			}
			return out(Ready{Ready: true}), nil
		})

	metricsAccess := auditor
	if s.About.OpenMetrics {
		metricsAccess = anyone
	}
	operate(s, operation{id: "metrics", method: "GET", path: "/metrics", tag: "server", access: metricsAccess, media: "text/plain",
		summary: "Metrics in the text format of Prometheus"},
		func(context.Context, *struct{}) (*stream, error) { return raw(s.metrics.page.ServeHTTP), nil })

	describe := sync.OnceValues(s.OpenAPI)
	operate(s, operation{id: "openapi", method: "GET", path: "/openapi.json", tag: "server", access: anyone, media: "application/openapi+json",
		summary: "This description"},
		func(context.Context, *struct{}) (*stream, error) {
			b, err := describe()
			if err != nil {
				return nil, err
			}
			return text("application/openapi+json", b), nil
		})

	operate(s, operation{id: "get-ca", method: "GET", path: "/v1/ca.pem", tag: "server", access: anyone, media: "application/x-pem-file",
		summary: "The root certificate of the intercepting proxy",
	}, func(context.Context, *struct{}) (*stream, error) {
		if len(s.CA) == 0 {
			return nil, writ.Errorf(writ.KindNotFound, "this server intercepts nothing, so it has no certificate authority")
		}
		return text("application/x-pem-file", s.CA), nil
	})

	operate(s, operation{id: "list-reasons", method: "GET", path: "/v1/reasons", tag: "decisions", access: anyone,
		summary: "Every reason that a decision can have, with its page"},
		func(context.Context, *struct{}) (*Out[client.Page[writ.Explanation]], error) {
			return out(client.Page[writ.Explanation]{Items: writ.Explanations()}), nil
		})

	operate(s, operation{id: "get-reason", method: "GET", path: "/v1/reasons/{code}", tag: "decisions", access: anyone,
		summary: "The page of one reason"},
		func(_ context.Context, in *struct {
			Code string `path:"code" maxLength:"40"`
		}) (*Out[writ.Explanation], error) {
			e, ok := writ.Explain(writ.Reason(in.Code))
			if !ok {
				return nil, writ.Errorf(writ.KindNotFound, "no reason %s", writ.Printable(in.Code, 40)).WithFix("list them with: writ help reasons")
			}
			return out(e), nil
		})

	operate(s, operation{id: "get-status", method: "GET", path: "/v1/status", tag: "server", access: caller,
		summary: "How the server stands"},
		func(ctx context.Context, _ *struct{}) (*Out[client.Status], error) {
			st, err := s.status(ctx)
			if err != nil {
				return nil, err
			}
			return out(*st), nil
		})

	operate(s, operation{id: "whoami", method: "GET", path: "/v1/whoami", tag: "server", access: caller,
		summary: "Who the token stands for"},
		func(ctx context.Context, _ *struct{}) (*Out[client.Whoami], error) {
			w, err := s.whoami(ctx)
			if err != nil {
				return nil, err
			}
			return out(*w), nil
		})
}

// Ready is the answer of /readyz.
type Ready struct {
	Ready bool `json:"ready"`
}

// authorityOf describes the root certificate.
func authorityOf(ca []byte) client.Authority {
	block, _ := pem.Decode(bytes.TrimSpace(ca))
	if block == nil {
		return client.Authority{}
	}
	sum := sha256.Sum256(block.Bytes)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	a := client.Authority{Fingerprint: strings.Join(pairs, ":")}
	if c, err := x509.ParseCertificate(block.Bytes); err == nil {
		a.Expires = writ.At(c.NotAfter)
	}
	return a
}
