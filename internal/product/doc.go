// Package product reads the infrastructure repository: its branches and commits (Repository), its
// hallmark.yaml and release procedure at one commit (Load), and the checks that need no server
// (Check). It judges whether the files can be used, not whether what they describe works.
package product
