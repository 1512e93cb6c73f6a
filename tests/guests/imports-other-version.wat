;; Is a whole component that imports a later version of the contract.
(component
  (import "wardset:policy/document@0.2.0" (instance
    (export "object" (func (param "pointer" string) (result (option string)))))))
