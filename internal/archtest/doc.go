// Package archtest holds the rules of the architecture, as tests: who may
// import whom, which packages are pure, that every package says what it is
// for, that one place sleeps between retries and one opens databases, and that
// what users embed shows no internal type.
package archtest
