;; Declares a write at a malformed JSON Pointer.
;;@ writes metadata/labels
