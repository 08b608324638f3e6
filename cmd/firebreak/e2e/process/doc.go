// Package process tests the binary as it is deployed: separate processes from
// configuration files, killed and restarted, asked through the commands that
// an operator has.
package process
