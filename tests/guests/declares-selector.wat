;; Declares that it writes `/spec/selector`, which no policy may.
;;@ writes /metadata/labels /spec/selector
