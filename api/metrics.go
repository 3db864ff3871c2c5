package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts what the API answers. Labels are operations and classes of
// status: their number is fixed, and no id or name is among them.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	page     http.Handler
}

func newMetrics(r *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "writ_api_requests_total", Help: "Requests answered, by operation and class of status."}, []string{"operation", "class"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "writ_api_seconds", Help: "Time to answer, by operation.", Buckets: []float64{.001, .005, .02, .1, .5, 2, 10}}, []string{"operation"}),
		page:     promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}),
	}
	r.MustRegister(m.requests, m.seconds)
	return m
}

func (m *metrics) observe(operation string, status int, took time.Duration) {
	m.requests.WithLabelValues(operation, strconv.Itoa(status/100)+"xx").Inc()
	m.seconds.WithLabelValues(operation).Observe(took.Seconds())
}
