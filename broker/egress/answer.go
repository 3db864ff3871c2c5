package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/internal/mask"
	"writ.dev/writ/internal/wire"
)

// stripped are response fields that hand out authority or lead past the broker
// (T16b). Alt-Svc and the hop-by-hop ones are the codec's to strip.
var stripped = []string{"Set-Cookie", "Set-Cookie2", "WWW-Authenticate", "Authentication-Info", "Authorization", "Refresh", "Clear-Site-Data", "Content-Length", "Trailer"}

// smallAnswer is up to which length an answer is read whole before it is
// passed on, so that it keeps a length even when something in it was masked.
const smallAnswer = 64 << 10

// answer passes the upstream's answer to the client, masked.
func (x *exchange) answer(ctx context.Context, u *broker.Use, r *wire.InResponse, m *mask.Set, out *writ.Outcome) {
	x.replied = true
	body, readable, err := x.readable(r)
	if err != nil {
		out.Error = err.Error()
		x.reject(u, http.StatusBadGateway, writ.PlacementViolation, "the answer is encoded in a way that Writ cannot look through for the secret, so it is withheld")
		return
	}
	header := x.answerHeader(u, r, m, out)
	w := x.conn.Respond(x.req)
	counted := &countedBody{Reader: body, n: &x.received}
	err = x.copyAnswer(w, r, header, counted, readable, m, out)
	out.Received = x.received.Load()
	switch {
	case err == nil:
		out.Kind = writ.Completed
	case u.WasCut():
		x.broken = true
	case errors.Is(err, errClient) || errors.Is(context.Cause(ctx), errHungUp):
		out.Kind, x.broken = writ.Abandoned, true
	default:
		out.Error, x.broken = "the answer broke off", true
	}
}

// answerHeader is the header of the answer to the client.
func (x *exchange) answerHeader(u *broker.Use, r *wire.InResponse, m *mask.Set, out *writ.Outcome) wire.Header {
	header := r.Header
	wire.StripResponse(&header)
	for _, name := range stripped {
		header.Del(name)
	}
	for i := range header {
		if m == nil {
			break
		}
		if masked, hit := m.MaskHeader(header[i].Value); hit {
			header[i].Value = masked
			out.Masked++
		}
	}
	header.Set("Writ-Use", string(writ.UseOf(u.Decision.ID)))
	return header
}

var (
	errClient   = errors.New("the client's side broke off")
	errEncoding = errors.New("the answer's content encoding cannot be read")
)

// readable decides how an answer is looked through: text is masked; what is
// known to be binary is passed as it is. Text that comes compressed although
// nobody asked for it is unpacked; an encoding we cannot unpack is withheld (T27).
func (x *exchange) readable(r *wire.InResponse) (io.Reader, bool, error) {
	if x.req.Method == http.MethodHead || r.Status == http.StatusNoContent || r.Status == http.StatusNotModified {
		return r.Body, false, nil
	}
	if types := r.Header.Values("Content-Type"); len(types) == 1 && !textual(types[0]) {
		return r.Body, false, nil
	}
	// Said twice it has two readings, and is none of these.
	switch strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ",")) {
	case "", "identity":
		return r.Body, true, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r.Body)
		if err == io.EOF {
			return r.Body, true, nil // encoded, and empty
		}
		if err != nil {
			return nil, false, errEncoding
		}
		r.Header.Del("Content-Encoding")
		r.Length = wire.Unknown
		return z, true, nil
	}
	return nil, false, errEncoding
}

// textual reports whether a media type is text that could echo a secret. What
// is not known to be binary is text.
func textual(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true
	}
	kind, sub, _ := strings.Cut(media, "/")
	switch kind {
	case "image", "audio", "video", "font":
		return sub == "svg+xml"
	case "application":
		switch sub {
		case "octet-stream", "zip", "gzip", "x-gzip", "x-tar", "pdf", "wasm", "zstd", "x-7z-compressed", "vnd.oci.image.layer.v1.tar+gzip", "java-archive", "x-rpm", "vnd.debian.binary-package":
			return false
		}
		return !strings.HasPrefix(sub, "x-git-")
	}
	return true
}

// copyAnswer writes head and body.
func (x *exchange) copyAnswer(w *wire.Response, r *wire.InResponse, h wire.Header, body io.Reader, readable bool, m *mask.Set, out *writ.Outcome) error {
	if !readable || m == nil {
		length := r.Length
		if err := w.WriteHead(r.Status, h, length); err != nil {
			return errClient
		}
		w.FlushEach = length < 0
		if x.req.Method != http.MethodHead {
			if err := copyBody(w, body); err != nil {
				return err
			}
		}
		return clientError(w.End())
	}
	if r.Length >= 0 && r.Length <= smallAnswer {
		plain, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		var whole bytes.Buffer
		mw := m.NewWriter(&whole)
		if _, err := mw.Write(plain); err != nil {
			return err
		}
		if err := mw.Close(); err != nil {
			return err
		}
		out.Masked += mw.Count()
		return clientError(w.Send(r.Status, h, whole.Bytes()))
	}
	if err := w.WriteHead(r.Status, h, wire.Unknown); err != nil {
		return errClient
	}
	w.FlushEach = true
	mw := m.NewWriter(w)
	err := copyBody(mw, body)
	if err == nil {
		err = clientError(mw.Close())
	}
	out.Masked += mw.Count()
	if err != nil {
		return err
	}
	return clientError(w.End())
}

func clientError(err error) error {
	if err != nil {
		return errClient
	}
	return nil
}

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyBody copies as bytes arrive, so that each event of a stream goes on at
// once (T41). It tells a failing client from a failing upstream.
func copyBody(w io.Writer, r io.Reader) error {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return errClient
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
