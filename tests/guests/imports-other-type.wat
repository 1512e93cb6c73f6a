;; Is a whole component that imports the document as bytes instead of text.
(component
  (import "wardset:policy/document@0.1.0" (instance
    (export "object" (func (param "pointer" string) (result (list u8)))))))
