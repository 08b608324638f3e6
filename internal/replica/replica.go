// Package replica decides how records spread: a pure core that takes what
// happened and when, and says what to send, apply and read. Package runner
// drives it.
package replica
