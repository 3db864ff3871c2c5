// Package mask takes the values of secrets out of what an upstream answers,
// while it streams by (T27).
//
// A Set is built once for a version of a credential and may be used by any
// number of goroutines. It finds, wherever the chunks are cut:
//
//   - the value itself;
//   - base64 of it, in the standard and the URL alphabet, padded or not, also
//     within a longer text that was encoded as a whole ("user:value"), which
//     shifts it to one of three alignments;
//   - hexadecimal, in whatever case;
//   - each of these percent-encoded, wholly or in part, with hex digits in
//     whatever case, and '+' for a space in the value itself;
//   - each of these within a JSON string, with any of its escapes (\", \/, \n,
//     \uXXXX with surrogate pairs, and JavaScript's \xXX), wholly or in part.
//
// This is best effort, against accidents: an upstream that echoes a request,
// an error that quotes a header. It is no wall against an upstream or an agent
// that wants the value through. It does not find: two escapings one over the
// other (a JSON text inside a JSON string, percent-encoding twice); compressed
// or encrypted bodies (the caller asks for none, or does not let them pass);
// base64 or hex with line breaks or separators; base32, UTF-16, HTML entities,
// quoted-printable; the value in other case, reversed, split over two events
// or two fields, or in part; a hash of it; a form that only comes about because
// a value with '%' or '\' in it was cut out of an escape beside it. Of a base64 form, the characters
// at its two ends that also hold bits of their neighbours remain: 4 bits of
// the value each at most.
//
// A value shorter than MinSecret is refused, not searched for: it would turn
// up in innocent text, and whoever sees what is masked learns it by guessing.
package mask
