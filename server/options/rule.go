package options

// Rule says whether an option can be changed while the server runs.
type Rule struct {
	Change Changeable
	// Name is what a refusal calls the option.
	Name string
	// Applied is what is logged behind "Reloaded: "; %v is the new value.
	Applied string
	// Note is for the reference: the exceptions.
	Note string
}

// Changeable is whether a reload may change an option.
type Changeable uint8

const (
	Fixed   Changeable = iota // refused
	Live                      // applied
	Partial                   // see the note
	Grouped                   // the rule of the block holds
)

// fixed: a change is refused.
func (r *row[T]) fixed(name string) *row[T] {
	r.Reload = Rule{Change: Fixed, Name: name}
	return r
}

// live: a change is applied.
func (r *row[T]) live(applied string) *row[T] {
	r.Reload = Rule{Change: Live, Applied: applied}
	return r
}

// partial: some changes are applied.
func (r *row[T]) partial(name, applied, note string) *row[T] {
	r.Reload = Rule{Change: Partial, Name: name, Applied: applied, Note: note}
	return r
}

// grouped: the block decides.
func (r *row[T]) grouped() *row[T] {
	r.Reload = Rule{Change: Grouped}
	return r
}
