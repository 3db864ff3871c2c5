// Package run is the user's side of `writ run`: it starts a program whose
// requests go through Writ, and ends it when its session ends.
//
// The pieces, in the order in which a run uses them:
//
//	Harden          keeps the token of this process from being read out of it
//	StartRelay      the loopback proxy that the program talks to, without a token
//	Environment     the variables and files that lead ordinary tools to the relay
//	StartChild      the program, in a process group of its own, kept by Landlock
//	                from Writ's own folders where the kernel can do that
//	OpenControl     the stream over which the server ends the run
//	Supervise       waits for whichever comes first: exit, end, loss of the stream
//
// The program never holds a token: not in its environment, not in its
// arguments, not in a file. What it has is a loopback port that answers the
// processes below this one and nobody else. The price is that this process
// stays for as long as the program runs.
//
// This is cooperative: a program that ignores its environment reaches the
// network directly (T17). It gets no credential there, since the credentials
// are with the server; Isolation says in words what is in force.
package run
