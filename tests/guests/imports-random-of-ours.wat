;; Is a whole component that imports an interface of the contract's package that does not exist.
(component
  (import "wardset:policy/random@0.1.0" (instance (export "bytes" (func (result u64))))))
