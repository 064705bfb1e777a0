// Command storetool examines and repairs store directories offline.
package main

func main() {}
