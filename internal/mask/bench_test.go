package mask

import (
	"io"
	"strings"
	"testing"
)

func BenchmarkWriter(b *testing.B) {
	s := mustSet(b, "sk-live-51H8xKq2eZvKYlo2C0a7b9d3f6")
	for name, chunk := range map[string]string{
		"text": strings.Repeat("The quick brown fox jumps over the lazy dog. ", 728),
		"json": strings.Repeat(`{"id":"msg_01","role":"assistant","content":[{"type":"text","text":"It\nsays \"hello\""}]},`, 360),
		"hex":  strings.Repeat("0123456789abcdef736b2d6c6976652d", 1024),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			w := s.NewWriter(io.Discard)
			p := []byte(chunk)
			for b.Loop() {
				if _, err := w.Write(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("copy-only", func(b *testing.B) {
		p, q := make([]byte, 32<<10), make([]byte, 32<<10)
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			copy(q, p)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	secret := []byte("sk-live-51H8xKq2eZvKYlo2C0a7b9d3f6")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(secret); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMaskHeader(b *testing.B) {
	s := mustSet(b, "sk-live-51H8xKq2eZvKYlo2C0a7b9d3f6")
	b.ReportAllocs()
	for b.Loop() {
		s.MaskHeader("application/json; charset=utf-8")
	}
}
