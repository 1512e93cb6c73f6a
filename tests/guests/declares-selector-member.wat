;; Declares that it writes `/spec/selector/matchLabels/app`, which no policy may.
;;@ writes /metadata/labels /spec/selector/matchLabels/app
