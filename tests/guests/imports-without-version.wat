;; Is a whole component that imports the contract without a version.
(component
  (import "wardset:policy/document" (instance
    (export "object" (func (param "pointer" string) (result (option string)))))))
