;; A whole component of no version of the contract at all.
(component
  (import "wardset:policy/document" (instance
    (export "object" (func (param "pointer" string) (result (option string)))))))
