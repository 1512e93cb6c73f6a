;; A whole component that asks the contract's own package for what isn't in it.
(component
  (import "wardset:policy/random@0.1.0" (instance (export "bytes" (func (result u64))))))
