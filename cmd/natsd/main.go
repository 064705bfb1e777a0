// Command natsd is the server.
package main

func main() {}
