;; Declares that it writes at what is no JSON Pointer.
;;@ writes metadata/labels
