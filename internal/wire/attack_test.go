package wire

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// T42: a client may send its first frame as soon as it has read the 101. It
// must not be lost to the watch for a client that hangs up, which would make
// Detach refuse the connection.
func TestAttackFirstFrameBeforeDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		c := NewConn(server, Timeouts{})
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(client, "GET /chat HTTP/1.1\r\nHost: api.acme.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			if err == nil {
				answer := make([]byte, 4<<10)
				_, err = client.Read(answer)
			}
			if err == nil {
				_, err = io.WriteString(client, "frame")
			}
			sent <- err
		}()
		q, err := c.ReadRequest()
		if err != nil {
			t.Fatal(err)
		}
		c.Watch(func() { t.Error("the client is taken for gone") })
		if err := c.Respond(q).Switch("websocket", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // whoever may read the frame has read it
		nc, err := c.Detach()
		if err != nil {
			t.Fatalf("the frame that followed the 101 cost the connection: %v", err)
		}
		defer nc.Close()
		_ = nc.SetReadDeadline(time.Now().Add(time.Second))
		frame := make([]byte, 5)
		if _, err := io.ReadFull(nc, frame); err != nil || string(frame) != "frame" {
			t.Errorf("%q %v", frame, err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}
